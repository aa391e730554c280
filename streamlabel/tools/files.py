"""Input and output files of commands; ``-`` is standard input or output. Writes are atomic."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from streamlabel.consumer.files.parquet import ParquetRows, count_rows
from streamlabel.errors import ConfigError

__all__ = ["count_lines", "open_input", "open_output", "open_rows"]


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading, or standard input."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 only the opening is a wrong configuration
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        yield stream


@contextmanager
def open_output(path: str) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when the body ends without an error.

    Standard output is written directly.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_rows(path: str) -> Iterator[BinaryIO]:
    """Open a file for JSON lines, which become rows if it is a Parquet file; as ``open_output``."""
    with open_output(path) as stream:
        if Path(path).suffix.lower() != ".parquet":
            yield stream
            return
        with ParquetRows(stream) as rows:
            yield cast("BinaryIO", rows)


def count_lines(path: str) -> int | None:
    """Return the number of lines of a file, for progress; None if it can be read only once."""
    if path == "-" or not Path(path).is_file():
        return None
    if Path(path).suffix.lower() == ".parquet":
        with Path(path).open("rb") as stream:
            return count_rows(stream)
    lines, last = 0, b"\n"
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")
