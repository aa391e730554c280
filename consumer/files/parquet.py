"""Parquet files: rows as records, and results as rows.

A result has the usual fields as columns and the complete record, as JSON, in ``record``. The
columns are the same for every file, whatever is in it, so that files can be read together.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

import orjson

from streamlabel.errors import ConfigError
from streamlabel.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetRows", "as_json", "count_rows", "read_rows"]

_BATCH_ROWS: Final = 1024
_GROUP_ROWS: Final = 20_000
# name -> (type, where it is in the record)
_COLUMNS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "route": ("string", ("route",)),
    "id": ("string", ("id",)),
    "task": ("string", ("task",)),
    "label": ("string", ("label",)),
    "labels": ("strings", ("labels",)),
    "unsure_labels": ("strings", ("unsure_labels",)),
    "confidence": ("double", ("confidence",)),
    "margin": ("double", ("margin",)),
    "threshold": ("double", ("threshold",)),
    "reasons": ("strings", ("reasons",)),
    "error_reason": ("string", ("reason",)),
    "error_message": ("string", ("message",)),
    "source": ("string", ("source", "topic")),
    "row": ("long", ("source", "offset")),
}


def read_rows(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file, in its order; values are those of Python.

    Args:
        stream: the file, which can be sought.

    Raises:
        ConfigError: it is no Parquet file, or the library is missing.
    """
    file = _open(stream)
    import pyarrow as pa  # noqa: PLC0415 with an extra

    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the Parquet file is broken ({type(error).__name__})") from None


def count_rows(stream: BinaryIO) -> int:
    """Return how many rows a file has; raises as ``read_rows`` does."""
    return int(_open(stream).metadata.num_rows)


def as_json(value: Any) -> Any:  # noqa: ANN401 any value of a row
    """Return what JSON has instead of a value: base64 of bytes, and the text of others."""
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _open(stream: BinaryIO) -> "Any":  # noqa: ANN401 pyarrow has no types
    require("a .parquet file", "pyarrow", extra="parquet")
    import pyarrow as pa  # noqa: PLC0415 with an extra
    from pyarrow import parquet  # noqa: PLC0415 with an extra

    if not stream.seekable():
        raise ConfigError("a Parquet file has to be a file: it cannot be read from a pipe")
    try:
        return parquet.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"not a Parquet file ({type(error).__name__})") from error


class ParquetRows:
    """Takes JSON lines and writes them as rows; used like a file that is open for writing.

    Args:
        stream: the file, which the caller closes.

    Raises:
        ConfigError: the library is missing.
    """

    def __init__(self, stream: BinaryIO) -> None:
        require("a .parquet file", "pyarrow", extra="parquet")
        from pyarrow import parquet  # noqa: PLC0415 with an extra

        self._schema = _schema()
        self._writer = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._lines: list[bytes] = []

    def write(self, rows: bytes) -> int:
        """Take complete lines."""
        self._lines += rows.splitlines()
        if len(self._lines) >= _GROUP_ROWS:
            self._write_group()
        return len(rows)

    def flush(self) -> None:
        """Do nothing: rows are written in groups."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        """Write what is left, and the end of the file; after an error only the end."""
        if self._lines and kind is None:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 with an extra

        lines, self._lines = self._lines, []
        found = [orjson.loads(line) for line in lines]
        columns: dict[str, list[Any]] = {
            name: [_at(each, path) for each in found] for name, (_, path) in _COLUMNS.items()
        }
        columns["record"] = [line.decode() for line in lines]
        self._writer.write_table(pa.Table.from_pydict(columns, schema=self._schema))


def _schema() -> "pa.Schema":
    import pyarrow as pa  # noqa: PLC0415 with an extra

    types = {
        "string": pa.string(),
        "strings": pa.list_(pa.string()),
        "double": pa.float64(),
        "long": pa.int64(),
    }
    columns = [(name, types[kind]) for name, (kind, _) in _COLUMNS.items()]
    return pa.schema([*columns, ("record", pa.string())])


def _at(record: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 any JSON
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record
