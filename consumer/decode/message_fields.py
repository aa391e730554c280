"""Finds a conversation in a document: an array of messages, as one text. Pure."""

from typing import Any

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.decode.joined_fields import JoinedFields, under
from streamlabel.consumer.decode.json_fields import MISSING, JsonFields
from streamlabel.consumer.decode.text_paths import Step, member
from streamlabel.consumer.decode.visible import VISIBLE
from streamlabel.errors import DecodeError
from streamlabel.models.core.turns import as_turns, write_turns

__all__ = ["MessageFields", "Messages", "json_fields"]


class Messages:
    """Reads the messages at a path as one text.

    Args:
        path: dotted path of the array.
        step: how to go from an object to what it has under a key.
    """

    def __init__(self, path: str, *, step: Step = member) -> None:
        self._path = path
        self._parts = path.split(".")
        self._step = step

    def read(self, document: Any) -> str | None:  # noqa: ANN401 any document
        """Return the text; None if the array is null or empty, or its last turn is blank.

        Raises:
            DecodeError: ``schema``: no such field, or it is no array of messages.
        """
        found = document
        for part in self._parts:
            found = self._step(found, part)
            if found is MISSING:
                raise DecodeError("schema", f"no field {self._path!r}")
        if found is None or found == []:
            return None
        if not isinstance(found, list):
            raise DecodeError("schema", f"field {self._path!r} is not an array of messages")
        try:
            turns = as_turns(self._message(each) for each in found)
        except ValueError as error:
            message = f"field {self._path!r}: {error}"
        else:
            return write_turns(turns) if VISIBLE.search(turns[-1].content) else None
        # Raised outside the handler: the caught error would add nothing to this one.
        raise DecodeError("schema", message)

    def _message(self, element: Any) -> Any:  # noqa: ANN401 any element
        if element is None or isinstance(element, str | int | float | bool | list | bytes):
            return element
        found = {key: self._step(element, key) for key in ("role", "content")}
        return {key: value for key, value in found.items() if value is not MISSING}


class MessageFields(JoinedFields):
    """Finds a conversation, id and metadata in JSON.

    Args:
        settings: of the input, with ``messages_path``.
        prefix: dotted path of the object that holds the fields; empty: the document.
    """

    def __init__(self, settings: InputSettings, prefix: str = "") -> None:
        path = settings.messages_path or ""
        # Repeated keys are refused on the way to these.
        parts = [f"{path}.role", f"{path}.content"]
        super().__init__(settings.model_copy(update={"text_paths": parts}), prefix)
        self._texts = Messages(under(prefix, path))


def json_fields(settings: InputSettings, prefix: str = "") -> JsonFields:
    """Return what finds text, id and metadata in JSON, as the settings say.

    Args:
        settings: of the input.
        prefix: dotted path of the object that holds the fields; empty: the document.
    """
    if settings.messages_path is not None:
        return MessageFields(settings, prefix)
    if settings.text_paths:
        return JoinedFields(settings, prefix)
    return JsonFields(
        under(prefix, settings.text_path),
        under(prefix, settings.id_path),
        under(prefix, settings.metadata_path),
    )
