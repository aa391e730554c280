"""Converts lines of a file into records for the input topic. Pure."""

from typing import Any

import orjson

from streamlabel.config.input_format import FORMATS
from streamlabel.config.kafka import InputSettings
from streamlabel.config.registry import SCHEMA_FORMATS
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.decode.json_slices import JsonPath
from streamlabel.consumer.files.text_files import FileFormat, headers_of, is_table, settings_of
from streamlabel.consumer.registry.opening import open_decoder
from streamlabel.errors import ConfigError, RecordError

__all__ = ["Feeder"]


class Feeder:
    """Makes keys and values in the format of the input topic.

    If the topic's format is JSON or CloudEvents, JSON lines are sent byte for byte, also invalid
    ones.

    Args:
        file_format: of the file.
        settings: of the input topic.
        key_path: dotted path to the key in a JSON line, or a CSV file's column; None: no keys.

    Attributes:
        headers: of every record.

    Raises:
        ConfigError: a key from a file of plain lines.
    """

    def __init__(
        self, file_format: FileFormat, settings: InputSettings, key_path: str | None
    ) -> None:
        if key_path and file_format == "text":
            raise ConfigError(
                "--key-field: a text file has no fields; use a .jsonl, .csv or .tsv file"
            )
        if settings.format not in FORMATS and file_format != "jsonl":
            raise ConfigError(
                f"input.format: the values of {settings.format} are made by other programs; use"
                " a .jsonl file whose lines are the values"
            )
        if _is_changed(settings) or (settings.text_paths and file_format != "jsonl"):
            raise ConfigError(
                f"input.format {settings.format}: values with a schema, a compression, another"
                " charset than UTF-8 or a text of several fields are made by other programs; write"
                " them with your own producer"
            )
        self.headers = headers_of(settings)
        self._settings = settings
        self._file_format = file_format
        self._decoder = open_decoder(settings_of(file_format, settings))
        self._key_paths = _key_paths(file_format, settings, key_path)

    def record(self, record: SourceRecord) -> tuple[bytes | None, bytes]:
        """Return key and value.

        Raises:
            RecordError: the line cannot be such a record.
        """
        if record.value is None:
            raise RecordError("undecodable_record", record.undecodable or "no value")
        key = self._key(record.value) if self._key_paths else None
        return key, self._value(record, record.value)

    def _value(self, record: SourceRecord, value: bytes) -> bytes:
        if self._settings.format == "text":
            return self._decoder.decode(record).text.encode()
        if self._file_format == "jsonl":
            return value
        if is_table(self._file_format):
            document = orjson.loads(value)
        else:
            document = _nested(self._settings.text_path, self._decoder.decode(record).text)
        if self._settings.format == "cloudevents":
            document = {
                "specversion": "1.0",
                "id": str(record.position),
                "source": "streamlabel/produce",
                "type": "streamlabel.text",
                "datacontenttype": "application/json",
                "data": document,
            }
        return orjson.dumps(document)

    def _key(self, value: bytes) -> bytes | None:
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
        for path in self._key_paths:
            found: Any = document
            for part in path.parts:
                found = found.get(part) if isinstance(found, dict) else None
            if isinstance(found, str):
                return found.encode()
            if isinstance(found, int | float):
                return path.raw(value)  # as written: a parser rounds long numbers
        return None


def _is_changed(settings: InputSettings) -> bool:
    """Return whether values on the topic are not simply text or JSON in UTF-8."""
    return (
        settings.format in SCHEMA_FORMATS
        or settings.content_encoding != "none"
        or settings.charset != "utf-8"
        or settings.double_encoded
    )


def _key_paths(
    file_format: FileFormat, settings: InputSettings, key_path: str | None
) -> tuple[JsonPath, ...]:
    if not key_path:
        return ()
    path = JsonPath(key_path.split("."))
    if not is_table(file_format):
        return (path,)
    # a column is the text, the id, or part of the metadata
    metadata = settings.metadata_path.split(".") if settings.metadata_path else ()
    return (path, JsonPath((*metadata, key_path)))


def _nested(path: str, text: str) -> dict[str, Any]:
    document: Any = text
    for part in reversed(path.split(".")):
        document = {part: document}
    return dict(document)
