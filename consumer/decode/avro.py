"""Reads Avro with the schema that it was written with. Pure.

Logical types are read as the type below them, so that a value is neither rounded nor refused.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import orjson

from streamlabel.consumer.decode.avro_limits import TooLargeError, is_bounded, refuse_unbounded
from streamlabel.errors import DecodeError
from streamlabel.foreign import first_line

__all__ = ["AvroSchema"]


class AvroSchema:
    """A schema, compiled.

    Args:
        schema: its JSON.
        references: JSON of the schemas that it refers to, those that others need first.

    Raises:
        ValueError: it is not an Avro schema; says why.
    """

    def __init__(self, schema: str | bytes, references: Sequence[str | bytes] = ()) -> None:
        # with an extra; imported when the first schema is compiled
        import fastavro  # noqa: PLC0415

        self._named: dict[str, Any] = {}
        try:
            for reference in references:
                fastavro.parse_schema(_plain(orjson.loads(reference)), named_schemas=self._named)
            self._schema: Any = fastavro.parse_schema(
                _plain(orjson.loads(schema)), named_schemas=self._named
            )
            self._is_bounded = is_bounded(self._schema, self._named)
        except Exception as error:  # a schema can be wrong in any way
            raise ValueError(f"not an Avro schema: {first_line(error)}") from error
        self._read: Callable[..., Any] = fastavro.schemaless_reader

    def decode(self, payload: bytes) -> Any:  # noqa: ANN401 any document
        """Return the document.

        Raises:
            DecodeError: ``schema``: not a value of this schema; ``bad_encoding``: a string in it is
                not UTF-8.
        """
        stream, reason = BytesIO(payload), "schema"
        try:
            if not self._is_bounded:
                refuse_unbounded(self._schema, self._named, payload)
            document = self._read(stream, self._schema, None)
        except UnicodeDecodeError:
            reason, problem = "bad_encoding", "a string in the Avro value is not UTF-8"
        except TooLargeError:
            problem = "not Avro of its schema, or with too many levels or parts"
        except Exception as error:  # noqa: BLE001 of the library; may hold the value
            problem = f"not Avro of its schema ({type(error).__name__})"
        else:
            rest = len(payload) - stream.tell()
            if rest == 0:
                return document
            problem = f"{rest} bytes follow the Avro value"
        # Raised outside the handler, because the caught error may contain the whole value.
        raise DecodeError(reason, problem)


def _plain(schema: Any) -> Any:  # noqa: ANN401 any schema
    """Return a schema without logical types."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if isinstance(schema, dict):
        return {
            key: each if key in {"default", "doc"} else _plain(each)
            for key, each in schema.items()
            if key != "logicalType"
        }
    return schema
