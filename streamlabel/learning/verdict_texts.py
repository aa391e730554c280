"""Texts that reviewers labelled: verdicts joined with the review records that have the texts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streamlabel.errors import ConfigError
from streamlabel.learning.ledger import verdicts_of_file
from streamlabel.quality.labelled_fields import LabelledText

__all__ = ["VerdictTexts", "verdict_texts"]


@dataclass(frozen=True, slots=True)
class VerdictTexts:
    """Labelled texts from verdicts.

    Attributes:
        texts: with the inverse of the probability of their review as the weight.
        without_text: decided verdicts whose review record is not there, or has a part of its text.
        undecided: verdicts without a decision, or not a first look.
    """

    texts: tuple[LabelledText, ...]
    without_text: int
    undecided: int

    def __str__(self) -> str:
        """Return a line about what was used."""
        left = f"{self.without_text:,} without a text, {self.undecided:,} without a first decision"
        return f"{len(self.texts):,} texts from verdicts; left out: {left}"


def verdict_texts(verdicts: Path, reviews: Path) -> VerdictTexts:
    """Return the texts that verdicts label.

    Args:
        verdicts: JSON lines of the verdicts topic (streamlabel.verdict/v1); they have no texts.
        reviews: JSON lines of the review topic, which has the texts.

    Raises:
        ConfigError: a file cannot be read, or no verdict has a text.
    """
    written = dict(_texts_in(reviews))
    found: list[LabelledText] = []
    without_text = undecided = 0
    for verdict in verdicts_of_file(verdicts).verdicts.values():
        if verdict.labels is None or verdict.look != 1 or verdict.purpose == "gold":
            undecided += 1
        elif (text := written.get((verdict.task, verdict.id))) is None:
            without_text += 1
        else:
            weight = 1 / (verdict.review_probability or 1.0)
            labels = tuple(verdict.labels)
            place = len(found) + 1
            found.append(LabelledText(place, text, labels, id=verdict.id, weight=weight))
    if not found:
        raise ConfigError(
            f"{reviews}: has the text of no decided verdict in {verdicts.name}; record the review"
            " topic (streamlabel tail review --json) for as long as the verdicts"
        )
    return VerdictTexts(tuple(found), without_text, undecided)


def _texts_in(path: Path) -> Iterator[tuple[tuple[str | None, str], str]]:
    try:
        with path.open("rb") as lines:
            for line in lines:
                message: Any = None
                try:
                    message = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
                if not isinstance(message, dict) or message.get("text_truncated"):
                    continue
                name, text = message.get("id"), message.get("text")
                if isinstance(name, str) and isinstance(text, str):
                    yield (message.get("task"), name), text
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
