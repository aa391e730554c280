"""Reads texts from files (JSON lines, CSV, TSV, Parquet, or one text per line) as input records.

Reading is lazy and bounded: a file may be larger than memory, a line may not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import orjson

from streamlabel.config.kafka import InputSettings
from streamlabel.config.registry import RegistrySettings
from streamlabel.consumer.core.records import Headers
from streamlabel.consumer.files.parquet import as_json, read_rows
from streamlabel.consumer.files.table_file import SEPARATORS, open_table
from streamlabel.errors import ConfigError

__all__ = [
    "FileFormat",
    "FileRecord",
    "format_of",
    "headers_of",
    "is_table",
    "read_records",
    "settings_of",
]

FileFormat = Literal["jsonl", "csv", "tsv", "parquet", "text"]

# Beyond any broker's record; a longer line is a broken file, not a text.
_MAX_LINE_BYTES = 16 * 1024 * 1024

_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    "": "jsonl",
}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One text as the file has it.

    Attributes:
        line: its (last) line, from 1.
        value: the value of the corresponding Kafka record; None with ``problem``.
        problem: why there is no value.
    """

    line: int
    value: bytes | None
    problem: str | None = None


def format_of(path: str) -> FileFormat:
    """Return the format by the extension of a file's name; ``-`` is JSON lines.

    Raises:
        ConfigError: another extension.
    """
    suffix = "" if path == "-" else Path(path).suffix.lower()
    if suffix not in _SUFFIXES or (suffix == "" and path != "-"):
        raise ConfigError(
            f"{path}: unknown file extension; name the file .jsonl (JSON lines), .csv or .tsv (with"
            " a header row), .parquet, or .txt (one text per line)"
        )
    return _SUFFIXES[suffix]


def is_table(file_format: FileFormat) -> bool:
    """Return whether a format has columns with names."""
    return file_format == "parquet" or f".{file_format}" in SEPARATORS


def settings_of(file_format: FileFormat, settings: InputSettings) -> InputSettings:
    """Return the settings for decoding records of a file, derived from those of the topic.

    Values in a file have no frame of a schema registry and no compression, and are UTF-8. Lines of
    a JSON file are JSON, whatever format the topic has. Settings of single topics do not apply.
    """
    plain: dict[str, Any] = {
        "topics": [],
        "framing": "none",
        "registry": RegistrySettings(),
        "schema_file": None,
        "schema_files": {},
        "message": None,
        "content_encoding": "none",
        "charset": "utf-8",
        "double_encoded": False,
    }
    if file_format == "text":
        plain |= {"format": "text", "decoder": None, "text_paths": []}
    elif is_table(file_format) or settings.format == "text":
        plain |= {"format": "json", "decoder": None, "text_paths": []}
    elif settings.format in {"avro", "protobuf", "json_schema"}:
        plain["format"] = "json"
    return settings.model_copy(update=plain)


def headers_of(settings: InputSettings) -> Headers:
    """Return the headers that decoding requires: records of a file have none."""
    if settings.format == "cloudevents":
        return (("content-type", b"application/cloudevents+json"),)
    return ()


def read_records(
    stream: BinaryIO, file_format: FileFormat, settings: InputSettings
) -> Iterator[FileRecord]:
    """Yield the records of a file in its order; blank lines are skipped.

    Args:
        stream: the file, at its beginning.
        file_format: see ``format_of``.
        settings: for tables: which columns hold text and id; the others become metadata.

    Raises:
        ConfigError: a table has no column for the text.
    """
    if file_format == "parquet":
        yield from _parquet_rows(stream, settings)
    elif is_table(file_format):
        yield from _rows(stream, SEPARATORS[f".{file_format}"], settings)
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


def _rows(
    stream: BinaryIO, separators: Sequence[str], settings: InputSettings
) -> Iterator[FileRecord]:
    # bytes that are not UTF-8 become lone surrogates, which are detected row by row
    text = TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    table = open_table(
        text, separators=separators, wanted=_names(settings.text_path), name="the file"
    )
    columns = _Columns(
        table.names,
        cast("int", table.place(*_names(settings.text_path))),
        table.place(*_names(settings.id_path)),
    )
    for row in table.rows:
        if row.values is None:
            yield FileRecord(row.line, None, row.problem)
        else:
            yield _record(row.line, row.values, columns, settings)
    text.detach()  # the stream is the caller's to close


def _parquet_rows(stream: BinaryIO, settings: InputSettings) -> Iterator[FileRecord]:
    text, identity = _names(settings.text_path), _names(settings.id_path)
    for number, row in enumerate(read_rows(stream), start=1):
        names = tuple(row)
        place = next((names.index(name) for name in text if name in row), None)
        if place is None:
            raise ConfigError(
                f"the file has no column {text[0]!r}; rename one, or set input.text_path"
            )
        place_of_id = next((names.index(name) for name in identity if name in row), None)
        columns = _Columns(names, place, place_of_id)
        yield _record(number, tuple(row.values()), columns, settings)


@dataclass(frozen=True, slots=True)
class _Columns:
    names: tuple[str, ...]
    text: int
    id: int | None


def _names(path: str | None) -> tuple[str, ...]:
    """Return the possible column names of a field: its path, or the last part of it."""
    return (path, path.rpartition(".")[2]) if path else ()


def _record(
    line: int, row: Sequence[Any], columns: _Columns, settings: InputSettings
) -> FileRecord:
    document: dict[str, Any] = {}
    _put(document, settings.text_path, row[columns.text])
    if columns.id is not None and settings.id_path:
        _put(document, settings.id_path, row[columns.id])
    used = {columns.text, columns.id}
    rest = {name: row[place] for place, name in enumerate(columns.names) if place not in used}
    if rest and settings.metadata_path:
        _put(document, settings.metadata_path, rest)
    try:
        return FileRecord(line, orjson.dumps(document, default=as_json))
    except orjson.JSONEncodeError:
        return FileRecord(line, None, "the row is not UTF-8")


def _put(document: dict[str, Any], path: str, value: Any) -> None:  # noqa: ANN401 any JSON value
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value
