"""Which settings of a value fit its format: compression, characters, and fields of the text."""

from typing import TYPE_CHECKING, Final, Literal

from streamlabel.config.input_format import FORMATS
from streamlabel.config.registry import SCHEMA_FORMATS

if TYPE_CHECKING:
    from streamlabel.config.input import InputSettings

__all__ = ["Charset", "useless", "value_problem"]

Charset = Literal[
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1251",
    "windows-1252",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "big5",
]

_JOINING: Final = ("text_paths", "text_separator", "text_default")
_OF_JSON: Final = frozenset({"json", "json_schema", "debezium"})


def value_problem(settings: "InputSettings") -> str | None:
    """Return which setting does nothing or does not fit, and what to change; None: all fit."""
    name: str = settings.format
    is_plain = settings.content_encoding == "none" and settings.charset == "utf-8"
    is_plain = is_plain and not settings.double_encoded and not settings.text_paths
    is_plain = is_plain and settings.messages_path is None
    rules = (
        (
            name not in FORMATS and not is_plain,
            "content_encoding, charset, double_encoded, text_paths, messages_path: not supported by"
            f" format {name}; remove them",
        ),
        (
            settings.message is not None and name != "protobuf",
            f"message: not supported by format {name}; remove it",
        ),
        (
            settings.charset != "utf-8" and name not in {"json", "text"},
            f"charset: format {name} is always UTF-8; remove it",
        ),
        (
            settings.charset != "utf-8" and settings.framing != "none",
            "charset: values behind a framing are always UTF-8; remove it",
        ),
        (
            settings.double_encoded and name not in _OF_JSON,
            f"double_encoded: format {name} is not JSON; remove it",
        ),
        *_text_rules(settings),
    )
    return next((problem for applies, problem in rules if applies), None)


def _text_rules(settings: "InputSettings") -> tuple[tuple[bool, str], ...]:
    paths = settings.text_paths
    return (
        (
            settings.text_default is not None and not paths,
            "text_default: requires text_paths; set it",
        ),
        (
            settings.text_separator != "\n\n" and not paths,
            "text_separator: requires text_paths; set it",
        ),
        (
            bool(paths) and settings.text_path != "text",
            "text_path, text_paths: set one of the two",
        ),
        (
            bool(paths) and settings.format in {"text", "cloudevents"},
            f"text_paths: not supported by format {settings.format}; remove it",
        ),
        (
            settings.messages_path is not None and (bool(paths) or settings.text_path != "text"),
            "messages_path: it replaces text_path and text_paths; remove them",
        ),
        (
            settings.messages_path is not None and settings.format in {"text", "cloudevents"},
            f"messages_path: not supported by format {settings.format}; remove it",
        ),
        (len(set(paths)) < len(paths), "text_paths: a path is listed twice; list each once"),
    )


def useless(settings: "InputSettings") -> list[str]:
    """Return which settings of the section do nothing for a topic with settings of its own.

    Of two that exclude each other both are returned: the topic keeps the one that it sets itself.
    """
    name: str = settings.format
    is_framed = settings.framing != "none"
    reads_schemas = name in SCHEMA_FORMATS
    skips_frames = name in {"json", "cloudevents"} and settings.framing == "confluent"
    rules = (
        (("registry", "schema_files"), not (reads_schemas and is_framed)),
        (("schema_file",), not reads_schemas or is_framed),
        (("framing",), not (reads_schemas or skips_frames) or settings.schema_file is not None),
        (("message",), name != "protobuf"),
        (("charset",), name not in {"json", "text"} or is_framed),
        (("double_encoded",), name not in _OF_JSON),
        ((*_JOINING, "messages_path"), name not in FORMATS or name in {"text", "cloudevents"}),
        (("content_encoding",), name not in FORMATS),
    )
    return [each for names, applies in rules if applies for each in names]
