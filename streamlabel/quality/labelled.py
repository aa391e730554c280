"""Labelled texts in files, read completely or refused with the lines to fix."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from streamlabel.consumer.files.table_file import SEPARATORS, open_table
from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.errors import ConfigError
from streamlabel.models.core.turns import read_turns
from streamlabel.quality.labelled_fields import LabelledText, text_of

__all__ = [
    "LabelledText",
    "labels_in",
    "plain",
    "read_labelled",
    "refuse_conversations",
    "refuse_overlap",
    "refuse_single_class",
    "true_labels",
    "unseen",
]

# Maximum number of faulty lines that an error lists: with more, the file was generated wrongly, and
# these lines are sufficient examples.
_SHOWN = 10
# Separates several labels in one cell.
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    fields: dict[str, Any] | None
    problem: str = ""


def read_labelled(
    path: Path,
    *,
    known: Sequence[str] | None = None,
    several: bool = False,
    fields: Sequence[str] = (),
) -> list[LabelledText]:
    """Return the texts of a file in its order.

    Args:
        path: ``.jsonl``: objects with ``text`` and ``label`` (or ``labels``, a list), or with
            ``messages``, a list of turns, in place of ``text``; ``.csv`` or ``.tsv``: columns
            ``text`` and ``label``, several labels separated by ``|``.
        known: the valid labels; None: any.
        several: a text may have any number of labels; otherwise exactly one.
        fields: further fields to keep, for example a language; missing ones are empty.

    Raises:
        ConfigError: it cannot be read, no line has such a field, or lines are faulty; the message
            lists up to ten of them.
    """
    texts: list[LabelledText] = []
    problems: list[str] = []
    for row in _rows(path, fields):
        found = row.problem if row.fields is None else text_of(row.line, row.fields, known, several)
        if isinstance(found, str):
            problems.append(f"{path.name}, line {row.line}: {found}")
        else:
            kept = [(name, (row.fields or {}).get(name)) for name in fields]
            shown = tuple((name, "" if v is None else str(v)) for name, v in kept)
            texts.append(replace(found, fields=shown) if shown else found)
    if problems:
        more = len(problems) - _SHOWN
        tail = [f"... and {more} more lines like these"] if more > 0 else []
        raise ConfigError("\n".join([*problems[:_SHOWN], *tail]))
    if not texts:
        raise ConfigError(
            f"{path}: has no labelled text; write one object with text and label per line"
        )
    absent = [name for name in fields if not any(dict(text.fields)[name] for text in texts)]
    if absent:
        raise ConfigError(f"{path}: no line has the field {absent[0]}; remove --slice {absent[0]}")
    return texts


def true_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the labels of a file by id; texts without an id are left out.

    Raises:
        ConfigError: as ``read_labelled``, or there is no id.
    """
    found = {
        text.id: text.labels for text in read_labelled(path, several=True) if text.id is not None
    }
    if not found:
        raise ConfigError(f"{path}: has no ids; add the field id, which matches texts with outputs")
    return found


def refuse_conversations(texts: Sequence[LabelledText], path: Path, *, why: str) -> None:
    """Raise ConfigError if some of the texts are conversations, for a model of single texts.

    Args:
        texts: of the file.
        path: of the file.
        why: a clause that says what to do.
    """
    lines = [text.line for text in texts if text.has_messages or _is_conversation(text.text)]
    if lines:
        raise ConfigError(f"{path.name}, line {lines[0]}: the text is a conversation; {why}")


def _is_conversation(text: str) -> bool:
    """Return whether a text is several turns as outputs have them."""
    try:
        return len(read_turns(text)) > 1
    except ValueError:
        return False


def labels_in(texts: Sequence[LabelledText]) -> tuple[str, ...]:
    """Return the labels of the texts, in alphabetical order."""
    return tuple(sorted({label for text in texts for label in text.labels}))


def refuse_single_class(texts: Sequence[LabelledText], path: Path) -> None:
    """Raise ConfigError if all texts have the same label."""
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
    """Raise ConfigError if evaluation texts are also training texts, which biases the results."""
    lines = {plain(text.text): text.line for text in seen}
    twice = [(text.line, lines[key]) for text in held if (key := plain(text.text)) in lines]
    if not twice:
        return
    shown = "; ".join(
        f"{held_path.name}, line {line} is {seen_path.name}, line {other}"
        for line, other in twice[:_SHOWN]
    )
    more = f"; and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
    raise ConfigError(
        f"{len(twice)} text(s) are in both files, so results would be too good: {shown}{more}."
        f" Remove them from {held_path.name}"
    )


def unseen(texts: Sequence[LabelledText], seen: Sequence[LabelledText]) -> list[LabelledText]:
    """Return those of ``texts`` that are not in ``seen``, ignoring case and white space."""
    known = {plain(text.text) for text in seen}
    return [text for text in texts if plain(text.text) not in known]


def plain(text: str) -> str:
    """Return the form in which texts are compared: without differences of case and white space."""
    return " ".join(text.casefold().split())


def _rows(path: Path, more: Sequence[str]) -> Iterator[_Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return _json_rows(content)
    if path.suffix.lower() in SEPARATORS:
        return _table_rows(content, path, path.suffix.lower(), more)
    raise ConfigError(f"{path}: name it .jsonl (JSON lines), .csv or .tsv")


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


def _table_rows(content: bytes, path: Path, kind: str, more: Sequence[str]) -> Iterator[_Row]:
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    lines = io.StringIO(decoded, newline="")
    table = open_table(lines, separators=SEPARATORS[kind], wanted=("text",), name=str(path))
    places = {
        name: table.place(name) for name in ("id", "text", "label", "labels", "weight", *more)
    }
    if places["label"] is None and places["labels"] is None:
        raise ConfigError(f"{path}: no column 'label' (or 'labels') in its header row; add it")
    for row in table.rows:
        if row.values is None:
            yield _Row(row.line, None, row.problem)
            continue
        fields: dict[str, Any] = {
            name: row.values[place] for name, place in places.items() if place is not None
        }
        if "labels" in fields:
            fields["labels"] = [p for p in fields["labels"].split(_SEPARATOR) if p.strip()]
        yield _Row(row.line, fields)
