"""Finds text, id and metadata in a document that was not JSON: of Avro or Protobuf. Pure."""

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import orjson

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES, MISSING, Found
from streamlabel.consumer.decode.message_fields import Messages
from streamlabel.consumer.decode.text_paths import Step, TextPaths, member

if TYPE_CHECKING:
    from streamlabel.consumer.decode.joined_fields import Texts

__all__ = ["TreeFields"]


class TreeFields:
    """Finds the fields of the settings in a document.

    Args:
        settings: of the input.
        step: how to go from an object to what it has under a key.
        plain: returns a value of the document as one that JSON has; None: it is too large.
    """

    def __init__(self, settings: InputSettings, *, step: Step = member, plain: Any = None) -> None:  # noqa: ANN401
        several = bool(settings.text_paths)
        self._text: Texts = TextPaths(
            settings.text_paths or [settings.text_path],
            separator=settings.text_separator,
            default=settings.text_default,
            through_arrays=several,
            step=step,
        )
        if settings.messages_path is not None:
            self._text = Messages(settings.messages_path, step=step)
        self._id = settings.id_path.split(".") if settings.id_path else None
        self._metadata = settings.metadata_path.split(".") if settings.metadata_path else None
        self._step = step
        self._plain = plain

    def read(self, document: Any) -> Found:  # noqa: ANN401 any document
        """Return the fields.

        Raises:
            DecodeError: ``schema``: no text, or not a string.
        """
        text = self._text.read(document)
        metadata, is_dropped = self._read_metadata(document)
        return Found(text, self._at(document, self._id), metadata, is_dropped)

    def _at(self, document: Any, path: list[str] | None) -> Any:  # noqa: ANN401
        if path is None:
            return MISSING
        for part in path:
            document = self._step(document, part)
            if document is MISSING:
                break
        return document

    def _read_metadata(self, document: Any) -> tuple[bytes | None, bool]:  # noqa: ANN401
        metadata = self._at(document, self._metadata)
        if metadata is None or metadata is MISSING:
            return None, False
        if self._plain is not None:
            metadata = self._plain(metadata)
            if metadata is None:
                return None, True
        try:
            # orjson writes 254 levels; the outer list stands for the message around it.
            written = orjson.dumps([[metadata]], default=_as_json)
        except (orjson.JSONEncodeError, RecursionError):
            return None, True
        if len(written) > METADATA_LIMIT_BYTES:
            return None, True
        return written[2:-2], False


def _as_json(value: Any) -> Any:  # noqa: ANN401 any value that JSON has not
    """Return bytes as base64; the formats have nothing else that JSON has not."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError
