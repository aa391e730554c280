"""Keeps a bounded number of schemas in memory. Pure."""

from collections.abc import Iterable, Mapping

from streamlabel.consumer.decode.schema_decoder import Schema, UnknownSchema

__all__ = ["SchemaCache"]


class SchemaCache:
    """Schemas by key, and since when some are known to be missing.

    Args:
        max_schemas: number of schemas to keep. Those of the present records are kept even if they
            are more.
        unknown_ttl_s: a missing schema is asked for again after this time.
    """

    def __init__(self, *, max_schemas: int, unknown_ttl_s: float) -> None:
        self._max_schemas = max_schemas
        self._unknown_ttl_s = unknown_ttl_s
        self._schemas: dict[bytes, Schema] = {}  # those used least recently come first
        self._expires_s: dict[bytes, float] = {}

    @property
    def schemas(self) -> Mapping[bytes, Schema]:
        """What is known."""
        return self._schemas

    def use(self, keys: Iterable[bytes], *, now_s: float) -> list[bytes]:
        """Return those of ``keys`` that have to be fetched; the others are used now."""
        missing = []
        for key in keys:
            schema = self._schemas.get(key)
            if schema is None or self._expires_s.get(key, now_s) < now_s:
                missing.append(key)
            else:
                self._schemas[key] = self._schemas.pop(key)
        return missing

    def put(self, key: bytes, schema: Schema, *, now_s: float) -> None:
        """Keep a schema, or that there is none."""
        self._schemas.pop(key, None)
        self._schemas[key] = schema
        if isinstance(schema, UnknownSchema):
            self._expires_s[key] = now_s + self._unknown_ttl_s
        else:
            self._expires_s.pop(key, None)

    def shrink(self, in_use: frozenset[bytes]) -> None:
        """Remove the schemas used least recently, never those in use, down to the limit."""
        for key in list(self._schemas):
            if len(self._schemas) <= self._max_schemas:
                return
            if key not in in_use:
                del self._schemas[key]
                self._expires_s.pop(key, None)
