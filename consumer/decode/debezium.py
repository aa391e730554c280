"""Finds the new row in Debezium's change events. Pure.

Source: Debezium's documentation of the envelope: ``before``, ``after``, ``source``, ``op``,
``ts_ms``; with schemas in JSON inside ``payload``, next to ``schema``.
"""

from typing import Any, Final, NamedTuple

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.decode.json_fields import Found, parse_json
from streamlabel.consumer.decode.message_fields import json_fields
from streamlabel.consumer.decode.tree_fields import TreeFields
from streamlabel.errors import DecodeError

__all__ = ["Change", "DebeziumFields"]

_WITH_ROW: Final = frozenset({"c", "u", "r"})  # create, update, read (snapshot)
_WITHOUT_ROW: Final = frozenset({"d", "t", "m"})  # delete, truncate, message


class Change(NamedTuple):
    """The fields of the new row.

    Attributes:
        found: text, id and metadata.
        time_ms: when the database made the change; None if the event does not say.
    """

    found: Found
    time_ms: int | None


class DebeziumFields:
    """Finds the fields of the settings in the new row of a change."""

    def __init__(self, settings: InputSettings) -> None:
        self._bare = json_fields(settings, "after")
        self._wrapped = json_fields(settings, "payload.after")
        self._row = json_fields(settings)
        self._tree = TreeFields(settings)

    def read_json(self, document: Any, source: bytes) -> Change:  # noqa: ANN401 any document
        """Return the fields of a change in JSON.

        Raises:
            DecodeError: ``no_row``: there is no new row; ``schema``: no change, or no text in it.
        """
        envelope, is_wrapped = document, False
        if type(document) is dict and "payload" in document and "op" not in document:
            envelope, is_wrapped = document["payload"], True
            if envelope is None:
                raise DecodeError("no_row", "the change has no payload")
        row = _row_of(envelope)
        if type(row) is str:  # MongoDB: the document as JSON
            inner = row.encode()
            return Change(self._row.read(parse_json(inner), inner), _time_ms(envelope))
        fields = self._wrapped if is_wrapped else self._bare
        return Change(fields.read(document, source), _time_ms(envelope))

    def read_tree(self, document: Any) -> Change:  # noqa: ANN401 any document
        """Return the fields of a change that was not JSON; raises as ``read_json``."""
        row = _row_of(document)
        if type(row) is str:
            inner = row.encode()
            return Change(self._row.read(parse_json(inner), inner), _time_ms(document))
        return Change(self._tree.read(row), _time_ms(document))


def _row_of(envelope: Any) -> Any:  # noqa: ANN401 any document
    """Return the new row: an object, or the text of one."""
    if type(envelope) is not dict or "op" not in envelope:
        raise DecodeError("schema", "no change event: no object with a field 'op'")
    kind = envelope["op"]
    if type(kind) is str and kind in _WITHOUT_ROW:
        raise DecodeError("no_row", "a delete, truncate or message has no new row")
    if type(kind) is not str or kind not in _WITH_ROW:
        raise DecodeError("schema", "field 'op' is none of c, u, r, d, t, m")
    row = envelope.get("after")
    if type(row) is not dict and type(row) is not str:
        raise DecodeError("schema", "field 'after' is no row")
    return row


def _time_ms(envelope: dict[str, Any]) -> int | None:
    source = envelope.get("source")
    time_ms = source.get("ts_ms") if type(source) is dict else None
    return time_ms if type(time_ms) is int else None
