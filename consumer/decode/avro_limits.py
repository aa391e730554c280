"""Reads Avro with limits, only to find out whether a faster reader may read it. Pure.

A few bytes can claim any number of values that take no bytes, such as nulls in an array, and a
schema that contains itself can be nested as deeply as there are bytes. Values of other schemas
cannot be larger than their bytes.
"""

from typing import Any, Final

__all__ = ["TooLargeError", "is_bounded", "refuse_unbounded"]

# Values that a schema may have without a byte for each; more would be an attack.
_MAX_FREE_VALUES: Final = 10_000
_MAX_DEPTH: Final = 64
_MAX_VALUES: Final = 100_000
_MAX_VARINT_BYTES: Final = 10
_FIXED_BYTES: Final = {"null": 0, "float": 4, "double": 8, "boolean": 1}
_VARINTS: Final = frozenset({"int", "long"})
_COUNTED: Final = frozenset({"string", "bytes"})
_PRIMITIVE: Final = _FIXED_BYTES.keys() | _VARINTS | _COUNTED

_LEAVES: Final = _PRIMITIVE | {"enum"}

Named = dict[str, Any]
_Cost = tuple[int, int] | None


class TooLargeError(ValueError):
    """The value has too many levels or parts, or is cut off."""


def is_bounded(schema: Any, named: Named) -> bool:  # noqa: ANN401 any schema
    """Return whether values of a schema are never larger than their bytes.

    Args:
        schema: as fastavro parsed it.
        named: its named types by full name.

    Raises:
        ValueError: a value of a few bytes would have thousands of parts.
    """
    return _Costs(named).of(schema, ()) is not None


class _Costs:
    """Computes the least bytes of each type, and how many parts it has; once a type."""

    def __init__(self, named: Named) -> None:
        self._named = named
        self._known: dict[str, _Cost] = {}

    def of(self, schema: Any, above: tuple[str, ...]) -> _Cost:  # noqa: ANN401
        """Return (least bytes, parts); None: not bounded."""
        if isinstance(schema, list):
            return self._of_union(schema, above)
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(kind, dict | list):
            return self.of(kind, above)
        if kind in {"record", "error"}:
            return self._of_record(schema, above)
        if kind in {"array", "map"}:
            return self._of_blocks(schema, above)
        if kind == "fixed":
            return int(schema["size"]), 1
        return (_FIXED_BYTES.get(kind, 1), 1) if kind in _LEAVES else self._of_named(kind, above)

    def _of_union(self, schema: list[Any], above: tuple[str, ...]) -> _Cost:
        branches = [self.of(each, above) for each in schema]
        costs = [each for each in branches if each is not None]
        if len(costs) < len(branches):
            return None
        return 1, _limited(1 + max((parts for _, parts in costs), default=0))

    def _of_blocks(self, schema: Any, above: tuple[str, ...]) -> _Cost:  # noqa: ANN401
        is_array = schema["type"] == "array"
        inner = self.of(schema["items" if is_array else "values"], above)
        # a map's keys take a byte each
        return None if inner is None or (inner[0] == 0 and is_array) else (1, inner[1])

    def _of_named(self, name: str, above: tuple[str, ...]) -> _Cost:
        if name in above:
            return None
        if name not in self._known:
            self._known[name] = self.of(self._named[name], above)
        return self._known[name]

    def _of_record(self, schema: Any, above: tuple[str, ...]) -> _Cost:  # noqa: ANN401
        if schema["name"] in above:
            return None
        inside = (*above, schema["name"])
        least, parts = 0, 1
        for each in schema["fields"]:
            found = self.of(each["type"], inside)
            if found is None:
                return None
            least, parts = least + found[0], _limited(parts + found[1])
        return least, parts


def _limited(parts: int) -> int:
    if parts > _MAX_FREE_VALUES:
        raise ValueError(f"its values have more than {_MAX_FREE_VALUES} parts")
    return parts


def refuse_unbounded(schema: Any, named: Named, payload: bytes) -> None:  # noqa: ANN401
    """Read a value without keeping it.

    Raises:
        TooLargeError: more than 64 levels or 100,000 parts, or it is cut off.
    """
    _Walk(named, payload).value(schema, 0)


class _Walk:
    def __init__(self, named: Named, payload: bytes) -> None:
        self._named = named
        self._payload = payload
        self._at = 0
        self._values = 0

    def value(self, schema: Any, depth: int) -> None:  # noqa: ANN401
        self._values += 1
        if depth > _MAX_DEPTH or self._values > _MAX_VALUES:
            raise TooLargeError
        if isinstance(schema, list):
            branch = self._number()
            if not 0 <= branch < len(schema):
                raise TooLargeError
            self.value(schema[branch], depth + 1)
        elif isinstance(schema, str):
            if schema in _PRIMITIVE:
                self._primitive(schema)
            else:
                self.value(self._named[schema], depth)
        else:
            self._complex(schema, depth)

    def _complex(self, schema: Any, depth: int) -> None:  # noqa: ANN401
        kind = schema["type"]
        if kind in {"record", "error"}:
            for each in schema["fields"]:
                self.value(each["type"], depth + 1)
        elif kind == "array":
            self._blocks((schema["items"],), depth)
        elif kind == "map":
            self._blocks(("string", schema["values"]), depth)
        elif kind == "fixed":
            self._skip(int(schema["size"]))
        elif kind == "enum":
            self._number()
        else:
            self.value(kind, depth)

    def _blocks(self, parts: tuple[Any, ...], depth: int) -> None:
        while count := self._number():
            if count < 0:
                count = -count
                self._number()
            for _ in range(count):  # ends with the limit of values
                for part in parts:
                    self.value(part, depth + 1)

    def _primitive(self, kind: str) -> None:
        if kind in _COUNTED:
            self._skip(self._number())
        elif kind in _VARINTS:
            self._number()
        else:
            self._skip(_FIXED_BYTES[kind])

    def _skip(self, size: int) -> None:
        self._at += size
        if size < 0 or self._at > len(self._payload):
            raise TooLargeError

    def _number(self) -> int:
        number = 0
        for shift in range(_MAX_VARINT_BYTES):
            self._skip(1)
            byte = self._payload[self._at - 1]
            number |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
        raise TooLargeError
