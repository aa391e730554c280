"""Labelled texts in files, read completely or refused with the lines to mend."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streamlabel.consumer.reading_aloud import printable
from streamlabel.errors import ConfigError

__all__ = [
    "LabelledText",
    "labels_in",
    "read_labelled",
    "refuse_overlap",
    "refuse_single_class",
    "unseen",
]

# More problems than a person mends by hand: the file is made wrong, and these lines show how.
_SHOWN = 10
# Separates several labels in a CSV cell.
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One text and what is right for it.

    Attributes:
        line: in its file, from 1.
        id: as the file has it; None if it has none.
        labels: one for a single_label task, any number for multi_label.
    """

    line: int
    text: str
    labels: tuple[str, ...]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    fields: dict[str, Any] | None
    problem: str = ""


def read_labelled(
    path: Path, *, known: Sequence[str] | None = None, several: bool = False
) -> list[LabelledText]:
    """Return the texts of a file in its order.

    Args:
        path: ``.jsonl``: objects with ``text`` and ``label`` (or ``labels``, a list); ``.csv``:
            such columns, several labels separated by ``|``.
        known: the labels there are; None: any.
        several: a text may have any number of labels; else exactly one.

    Raises:
        ConfigError: it cannot be read; or every line that is wrong, up to ten, with what is wrong.
    """
    texts: list[LabelledText] = []
    problems: list[str] = []
    for row in _rows(path):
        found = row.problem if row.fields is None else _text(row.line, row.fields, known, several)
        if isinstance(found, str):
            problems.append(f"{path.name}, line {row.line}: {found}")
        else:
            texts.append(found)
    if problems:
        more = len(problems) - _SHOWN
        tail = [f"... and {more} more lines like these"] if more > 0 else []
        raise ConfigError("\n".join([*problems[:_SHOWN], *tail]))
    if not texts:
        raise ConfigError(
            f"{path}: no labelled text in it; write one object with text and label a line"
        )
    return texts


def labels_in(texts: Sequence[LabelledText]) -> tuple[str, ...]:
    """Return the labels that texts have, in alphabetical order."""
    return tuple(sorted({label for text in texts for label in text.labels}))


def refuse_single_class(texts: Sequence[LabelledText], path: Path) -> None:
    """Raise ConfigError where there is nothing to tell apart."""
    kinds = Counter(text.labels for text in texts)
    if len(kinds) > 1:
        return
    only = ", ".join(map(printable, texts[0].labels)) or "none"
    raise ConfigError(
        f"{path.name}: all {len(texts)} texts have the same label ({only}); add texts of the others"
    )


def refuse_overlap(
    held: Sequence[LabelledText], held_path: Path, seen: Sequence[LabelledText], seen_path: Path
) -> None:
    """Raise ConfigError where texts to measure on were trained on: they would flatter the model."""
    lines = {_plain(text.text): text.line for text in seen}
    twice = [(text.line, lines[key]) for text in held if (key := _plain(text.text)) in lines]
    if not twice:
        return
    shown = "; ".join(
        f"{held_path.name}, line {line} is {seen_path.name}, line {other}"
        for line, other in twice[:_SHOWN]
    )
    more = f"; and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
    raise ConfigError(
        f"{len(twice)} text(s) are in both files and would flatter the model: {shown}{more}. Take"
        f" them out of {held_path.name}"
    )


def unseen(texts: Sequence[LabelledText], seen: Sequence[LabelledText]) -> list[LabelledText]:
    """Return those of ``texts`` that are not in ``seen``, whatever their case and spaces."""
    known = {_plain(text.text) for text in seen}
    return [text for text in texts if _plain(text.text) not in known]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _rows(path: Path) -> Iterator[_Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return _json_rows(content)
    if path.suffix.lower() == ".csv":
        return _csv_rows(content, path)
    raise ConfigError(f"{path}: name it .jsonl (JSON lines) or .csv")


def _json_rows(content: bytes) -> Iterator[_Row]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield _Row(number, None, "no JSON")
            continue
        if isinstance(value, dict):
            yield _Row(number, value)
        else:
            yield _Row(number, None, "not an object with text and label")


def _csv_rows(content: bytes, path: Path) -> Iterator[_Row]:
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    reader = csv.DictReader(io.StringIO(decoded, newline=""))
    columns = reader.fieldnames or []
    if "text" not in columns or not {"label", "labels"} & set(columns):
        raise ConfigError(
            f"{path}: the columns are {', '.join(columns) or 'none'}; it needs text and label"
        )
    for row in reader:
        if None in row or None in row.values():
            yield _Row(reader.line_num, None, f"not {len(columns)} columns")
            continue
        if row.get("labels") is not None:
            several: list[str] = [p for p in row["labels"].split(_SEPARATOR) if p.strip()]
            yield _Row(reader.line_num, {**row, "labels": several})
        else:
            yield _Row(reader.line_num, dict(row))


def _text(
    line: int, fields: dict[str, Any], known: Sequence[str] | None, several: bool
) -> LabelledText | str:
    """Return the text, or what is wrong with it."""
    text = fields.get("text")
    if not isinstance(text, str):
        return 'no "text", or it is no text'
    if not text.strip():
        return "the text is empty; take the line out"
    labels = _labels(fields, known, several)
    if isinstance(labels, str):
        return labels
    found = fields.get("id")
    return LabelledText(line, text, labels, None if found is None else str(found))


def _labels(
    fields: dict[str, Any], known: Sequence[str] | None, several: bool
) -> tuple[str, ...] | str:
    """Return the labels, or what is wrong with them."""
    labels = fields.get("labels", fields.get("label"))
    if labels is None:
        return 'no "label"; say which one is right, or take the line out'
    if isinstance(labels, str):
        labels = [labels]
    if not isinstance(labels, list) or not all(isinstance(x, str) and x.strip() for x in labels):
        return 'a label is a text that is not blank; "labels" is a list of them'
    if not several and len(labels) != 1:
        return f"{len(labels)} labels, and the task has exactly one a text"
    unknown = [label for label in labels if known is not None and label not in known]
    if unknown:
        names = ", ".join(map(printable, known or ()))
        return f"label {printable(unknown[0][:40])!r} is unknown; the labels are {names}"
    return tuple(labels)
