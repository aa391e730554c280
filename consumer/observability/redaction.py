"""What a log line may show: no content of a record, no secret, no local variable, no long field.

None of these is logged intentionally; this is the second line of defence.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from streamlabel.config.masking import mask_credentials

__all__ = ["exception_fields", "redact"]

# Fields that could hold a record's content; masked when they hold more than a number.
_CONTENT: Final = frozenset(
    {"text", "texts", "value", "values", "payload", "body", "content", "prompt", "key"}
)
# Endings of fields that could hold a secret; masked whatever they hold.
_SECRET: Final = ("password", "secret", "token", "api_key", "authorization", "credentials")

# Errors whose message repeats the input.
_QUOTING_ERRORS: Final = frozenset({"ValidationError", "UnicodeEncodeError", "UnicodeDecodeError"})

_REDACTED: Final = "[redacted]"
_WITHHELD: Final = "[withheld: it may repeat the input]"

# Characters of one field: long enough for a path or one of our messages, short for a text.
_MAX_CHARACTERS: Final = 1000
_MAX_DEPTH: Final = 4
_MAX_FRAMES: Final = 20

_transform = ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Mask what could hold a record's content or a secret, and cut long fields."""
    return {
        name: value if name == "exc_info" else _field(name, value, depth=0)
        for name, value in event_dict.items()
    }


def exception_fields(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Return the exception and its causes: types, messages, frames; no local variables."""
    return [_checked(stack) for stack in _transform(exc_info)]


def _field(name: str, value: object, *, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    lowered = name.lower()
    if lowered.endswith(_SECRET):
        return _REDACTED
    if lowered in _CONTENT and not isinstance(value, int | float):
        return _REDACTED
    return _shown(value, depth=depth)


def _shown(value: object, *, depth: int) -> object:
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _shown_items(value, depth=depth + 1) if depth < _MAX_DEPTH else "[nested]"
    if isinstance(value, str | PurePath):
        return _cut(str(value))
    if isinstance(value, BaseException):
        return _cut(f"{type(value).__name__}: {_message(value)}")
    if isinstance(value, int | float | None):
        return value
    # the repr of anything else could hold a text
    return f"[{type(value).__name__}]"


def _shown_items(
    value: Mapping[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any],
    *,
    depth: int,
) -> object:
    if isinstance(value, Mapping):
        return {str(name): _field(str(name), item, depth=depth) for name, item in value.items()}
    return [_shown(item, depth=depth) for item in value]


def _cut(text: str) -> str:
    text = mask_credentials(text)
    over = len(text) - _MAX_CHARACTERS
    return text if over <= 0 else f"{text[:_MAX_CHARACTERS]}... [{over} more characters]"


def _message(error: BaseException) -> str:
    return _WITHHELD if type(error).__name__ in _QUOTING_ERRORS else str(error)


def _checked(stack: dict[str, Any]) -> dict[str, Any]:
    quotes = stack["exc_type"] in _QUOTING_ERRORS
    stack["exc_value"] = _WITHHELD if quotes else _cut(stack["exc_value"])
    for group in stack["exceptions"]:
        for inner in group:
            _checked(inner)
    return stack
