"""Texts in files: JSON lines, CSV, or one text a line, read as the records they would be.

Reading is lazy and bounded: a file may be larger than memory, a line may not.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.records import Headers
from streamlabel.errors import ConfigError

__all__ = ["FileFormat", "FileRecord", "format_of", "headers_of", "read_records", "settings_of"]

FileFormat = Literal["jsonl", "csv", "text"]

# Beyond any broker's record; a longer line is a broken file, not a text.
_MAX_LINE_BYTES = 16 * 1024 * 1024

_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".txt": "text",
    "": "jsonl",
}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One text as the file has it.

    Attributes:
        line: its (last) line, from 1.
        value: what a Kafka record with it would hold; None with ``problem``.
        problem: why there is no value.
    """

    line: int
    value: bytes | None
    problem: str | None = None


def format_of(path: str) -> FileFormat:
    """Return the format that the ending of a file's name says; ``-`` is JSON lines.

    Raises:
        ConfigError: another ending.
    """
    suffix = "" if path == "-" else Path(path).suffix.lower()
    if suffix not in _SUFFIXES or (suffix == "" and path != "-"):
        raise ConfigError(
            f"{path}: the ending says nothing about the format; name it .jsonl (JSON lines), .csv,"
            " or .txt (a line, a text)"
        )
    return _SUFFIXES[suffix]


def settings_of(file_format: FileFormat, settings: InputSettings) -> InputSettings:
    """Return how to decode the records of a file, given how those of the topic are decoded."""
    if file_format == "text":
        return settings.model_copy(update={"format": "text"})
    if file_format == "csv" or settings.format == "text":
        return settings.model_copy(update={"format": "json"})
    return settings


def headers_of(settings: InputSettings) -> Headers:
    """Return the headers that records need to be decoded: a file has none of its own."""
    if settings.format == "cloudevents":
        return (("content-type", b"application/cloudevents+json"),)
    return ()


def read_records(
    stream: BinaryIO, file_format: FileFormat, settings: InputSettings
) -> Iterator[FileRecord]:
    """Yield the records of a file in its order; blank lines are none.

    Args:
        stream: the file, at its beginning.
        file_format: see ``format_of``.
        settings: for CSV: which columns hold text and id; the others become metadata.

    Raises:
        ConfigError: a CSV file has no text column.
    """
    if file_format == "csv":
        yield from _rows(stream, settings)
    else:
        yield from _lines(stream)


def _lines(stream: BinaryIO) -> Iterator[FileRecord]:
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield FileRecord(number, None, f"the line has more than {_MAX_LINE_BYTES} bytes")
        elif line.strip():
            yield FileRecord(number, line.rstrip(b"\r\n"))


def _rows(stream: BinaryIO, settings: InputSettings) -> Iterator[FileRecord]:
    csv.field_size_limit(_MAX_LINE_BYTES)
    # what is not UTF-8 becomes lone surrogates, and those are found row by row
    text = TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text)
    columns = _columns(next(reader, []), settings)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield FileRecord(reader.line_num, None, f"not a CSV row: {error}")
            continue
        if row:
            yield _record(reader.line_num, row, columns, settings)
    text.detach()  # the stream is the caller's to close


@dataclass(frozen=True, slots=True)
class _Columns:
    names: tuple[str, ...]
    text: int
    id: int | None


def _columns(header: list[str], settings: InputSettings) -> _Columns:
    text = _place(header, settings.text_path)
    if text is None:
        raise ConfigError(
            f"the CSV file has no column {settings.text_path!r}, but {', '.join(header) or 'none'};"
            " rename one, or set input.text_path"
        )
    return _Columns(tuple(header), text, _place(header, settings.id_path))


def _place(header: list[str], path: str | None) -> int | None:
    for name in (path, path.rpartition(".")[2]) if path else ():
        if name in header:
            return header.index(name)
    return None


def _record(line: int, row: list[str], columns: _Columns, settings: InputSettings) -> FileRecord:
    if len(row) != len(columns.names):
        return FileRecord(line, None, f"{len(row)} columns instead of {len(columns.names)}")
    document: dict[str, Any] = {}
    _put(document, settings.text_path, row[columns.text])
    if columns.id is not None and settings.id_path:
        _put(document, settings.id_path, row[columns.id])
    used = {columns.text, columns.id}
    rest = {name: row[place] for place, name in enumerate(columns.names) if place not in used}
    if rest and settings.metadata_path:
        _put(document, settings.metadata_path, rest)
    try:
        return FileRecord(line, orjson.dumps(document))
    except orjson.JSONEncodeError:
        return FileRecord(line, None, "the row is not UTF-8")


def _put(document: dict[str, Any], path: str, value: Any) -> None:  # noqa: ANN401 any JSON value
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value
