"""The format logfmt: ``level=info msg="the text" id=7``."""

import re
from collections.abc import Sequence

from pydantic import Field

from streamlabel.api import (
    DecodeError,
    Format,
    FormatSettings,
    SourceRecord,
    TextRecord,
)

__all__ = ["LogfmtDecoder", "LogfmtSettings", "logfmt"]

_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')


class LogfmtSettings(FormatSettings):
    """Keys of the text and the id."""

    text_key: str = Field("msg", min_length=1, description="Key of the text.")
    id_key: str = Field("id", min_length=1, description="Key of the record's own id, if any.")


class LogfmtDecoder:
    """Decodes lines in logfmt."""

    def __init__(self, settings: LogfmtSettings) -> None:
        self._settings = settings

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch nothing; a format with a schema registry would fetch schemas here."""

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text; an error message must not quote the record."""
        try:
            line = (record.value or b"").decode()
        except UnicodeDecodeError:
            raise DecodeError("bad_encoding", "not UTF-8") from None
        fields = {key: _unquoted(value) for key, value in _PAIR.findall(line)}
        text = fields.get(self._settings.text_key)
        if text is None:
            raise DecodeError("schema", f"no key {self._settings.text_key!r}")
        identity = fields.get(self._settings.id_key) or str(record.position)
        return TextRecord(record, identity, text, record.timestamp_ms)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1])


logfmt = Format(settings=LogfmtSettings, load=LogfmtDecoder)
