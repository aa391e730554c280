"""The sample texts, written for the project: a community marketplace that moderates its posts.

``train.jsonl`` is the training data of the demo's encoder; it contains no text of the other files.
``unseen.jsonl`` has texts with their correct labels, ``hard.jsonl`` texts that should go to review,
and ``broken.jsonl`` typical malformed records.
"""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from streamlabel.models.core.labels import LabelSet
from streamlabel.training.head import Example

__all__ = ["LABELS", "Sample", "stream_samples", "training_examples"]

LABELS = LabelSet(("ok", "spam", "scam", "harassment", "prohibited"))

Kind = Literal["unseen", "ambiguous", "other_language", "broken"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of the demo's input topic.

    Attributes:
        value: the value of the Kafka record; None is a tombstone.
        text: the text to show.
        note: the language, the ambiguity, or the fault of the record.
        label: the correct one; None if there is none.
        expect: for a malformed record, the reason of its dead letter, or ``classified``.
    """

    id: str
    kind: Kind
    value: bytes | None
    text: str
    note: str = ""
    label: str | None = None
    expect: str = ""


def training_examples() -> list[Example]:
    """Return the training data of the encoder."""
    return [Example(row["text"], row["label"]) for row in _rows("train.jsonl")]


def stream_samples(*, seed: int = 5) -> list[Sample]:
    """Return every sample of the stream, shuffled with a fixed seed."""
    samples = [_text_sample(row, "unseen", row["language"]) for row in _rows("unseen.jsonl")]
    samples += [
        _text_sample(row, row["kind"], row["why"] or row["language"]) for row in _rows("hard.jsonl")
    ]
    samples += [_broken_sample(row) for row in _rows("broken.jsonl")]
    random.Random(seed).shuffle(samples)  # noqa: S311 no secret
    return samples


def _text_sample(row: dict[str, Any], kind: Kind, note: str) -> Sample:
    value = {"id": row["id"], "text": row["text"], "metadata": {"language": row["language"]}}
    encoded = json.dumps(value, ensure_ascii=False).encode()
    return Sample(row["id"], kind, encoded, row["text"], note, row.get("label"))


def _broken_sample(row: dict[str, Any]) -> Sample:
    value = _broken_value(row)
    shown = "" if value is None else value[:400].decode("utf-8", "backslashreplace")
    note = row["kind"].replace("_", " ")
    return Sample(f"broken-{row['kind']}", "broken", value, shown, note, expect=row["expect"])


def _broken_value(row: dict[str, Any]) -> bytes | None:
    if "value_base64" in row:
        return base64.b64decode(row["value_base64"])
    if "text" in row:  # too long to be stored in the file
        return json.dumps({"id": row["id"], "text": row["text"] * row["times"]}).encode()
    if row["value"] is None:
        return None
    value: str = row["value"] * row.get("times", 1)
    return value.encode()


def _rows(name: str) -> Iterator[dict[str, Any]]:
    content = (files("streamlabel.demo") / "samples" / name).read_text(encoding="utf-8")
    # not splitlines, because a text may contain U+2028
    return (json.loads(line) for line in content.split("\n") if line)
