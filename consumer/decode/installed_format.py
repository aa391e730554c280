"""The decoder of the input: a built-in one, or a guarded one of another distribution.

An error of such a decoder makes the record that it was decoding a dead letter, and what it returns
is checked against the rules that outputs rely on.
"""

from collections.abc import Sequence
from typing import Any, Final, get_args

import orjson

from streamlabel.config import installed
from streamlabel.config.input_format import FORMATS
from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import DeadLetterReason, SourceRecord, TextRecord
from streamlabel.consumer.decode.decoder import (
    ID_LIMIT_CHARS,
    Decoder,
    refuse_without_value,
)
from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES
from streamlabel.consumer.decode.visible import VISIBLE
from streamlabel.errors import ConfigError, DecodeError, StreamlabelError
from streamlabel.foreign import first_line

__all__ = ["InstalledDecoder", "open_decoder"]

_REASONS: Final = frozenset(get_args(DeadLetterReason))
_MEMBERS: Final = ("prefetch", "decode")


def open_decoder(settings: InputSettings) -> "Decoder | InstalledDecoder":
    """Return the decoder for ``input.format``.

    Raises:
        ConfigError: the decoder of another distribution cannot be created.
    """
    name: str = settings.format
    if name in FORMATS:
        return Decoder(settings)
    found = installed.find("format", name)
    who = f"the format {name} of {found.distribution}"
    try:
        decoder = found.load(settings.decoder)
    except StreamlabelError:
        raise
    except Exception as error:  # third-party code may raise anything
        raise ConfigError(f"input.format: {who} cannot be loaded: {first_line(error)}") from error
    missing = [member for member in _MEMBERS if not hasattr(decoder, member)]
    if missing:
        raise ConfigError(
            f"input.format: {who} returned a {type(decoder).__name__} without"
            f" {' and '.join(missing)}; a decoder has all members of streamlabel.api.ValueDecoder"
        )
    return InstalledDecoder(decoder, who=who)


class InstalledDecoder:
    """The decoder of another distribution; implements ``ValueDecoder``.

    Args:
        decoder: has ``prefetch`` and ``decode``.
        who: names it in messages.
    """

    def __init__(self, decoder: Any, *, who: str) -> None:  # noqa: ANN401 third-party code
        self._decoder = decoder
        self._who = who

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Let the decoder fetch what it needs.

        Raises:
            StreamlabelError: it failed; the service stops.
        """
        try:
            await self._decoder.prefetch(records)
        except StreamlabelError:
            raise
        except Exception as error:  # third-party code may raise anything
            raise StreamlabelError(
                f"{self._who} cannot fetch what it needs: {first_line(error)}"
            ) from error

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the record's text, checked by the rules of the built-in formats.

        Raises:
            DecodeError: from the decoder; ``decoder_error`` for other exceptions and wrong results.
        """
        refuse_without_value(record)
        try:
            found = self._decoder.decode(record)
        except DecodeError as error:
            reason = error.reason if error.reason in _REASONS else "schema"
            problem = error.message
        except Exception as error:  # noqa: BLE001 any error makes this record a dead letter
            # without its message, which may hold the text
            reason, problem = "decoder_error", f"{self._who} raised {type(error).__name__}"
        else:
            return self._checked(record, found)
        # Raised outside the handler, because the caught error may contain the whole value.
        raise DecodeError(reason, problem)

    def _checked(self, record: SourceRecord, found: Any) -> TextRecord:  # noqa: ANN401 anything
        if not isinstance(found, TextRecord) or not isinstance(found.text, str):
            message = f"{self._who} returned no TextRecord with a text"
            raise DecodeError("decoder_error", message)
        if VISIBLE.search(found.text) is None:
            raise DecodeError("empty_text", "the text is empty or blank")
        if not _is_unicode(found.text):
            raise DecodeError("bad_encoding", "the text holds a lone surrogate")
        identity: Any = found.id
        if not isinstance(identity, str) or not identity.strip() or not _is_unicode(identity):
            identity = str(record.position)
        if len(identity) > ID_LIMIT_CHARS:
            identity = str(record.position)
        has_time = type(found.event_time_ms) is int
        metadata = found.metadata if _may_travel(found.metadata) else None
        return TextRecord(
            record,
            identity,
            found.text,
            found.event_time_ms if has_time else record.timestamp_ms,
            metadata,
            found.metadata_dropped or metadata is not found.metadata,
        )


def _may_travel(metadata: Any) -> bool:  # noqa: ANN401 anything
    """Return whether metadata can be copied to an output as it is: small, and one line of JSON."""
    if metadata is None:
        return True
    if not isinstance(metadata, bytes) or len(metadata) > METADATA_LIMIT_BYTES:
        return False
    try:
        # written again inside a list, as it will be inside a message
        orjson.dumps([orjson.loads(metadata)])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False
    return b"\n" not in metadata and b"\r" not in metadata


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
