"""Logging: one pipeline for our lines and for those of the libraries.

JSON with stable keys in containers, a readable console on a terminal. Texts of records are never
logged intentionally; ``redaction`` is the second line of defence.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.dev import ConsoleRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from streamlabel.config.settings import LoggingSettings
from streamlabel.consumer.observability.log_repeats import EventLimit, RepeatFilter
from streamlabel.consumer.observability.redaction import exception_fields, redact

__all__ = ["configure_logging"]

# They have their own handlers; vLLM and transformers install them whenever they are imported.
_LIBRARIES: Final = ("transformers", "vllm", "uvicorn", "uvicorn.error", "uvicorn.access")
# Each logs one line per request at INFO: uvicorn per probe, the others per text that an endpoint
# classifies.
_ONE_LINE_PER_REQUEST: Final = ("uvicorn.access", "httpx", "httpcore", "openai")


def configure_logging(
    settings: LoggingSettings,
    *,
    environ: Mapping[str, str],
    stream: TextIO | None = None,
    static: Mapping[str, str] | None = None,
) -> None:
    """Send every log line of this process through one pipeline; a later call replaces an earlier.

    Call it first in each process: the service, a command, the worker.

    Args:
        settings: level and format.
        environ: read for NO_COLOR and FORCE_COLOR.
        stream: where lines are written; default: standard error, as standard output is for results.
        static: fields of every JSON line, for example ``version`` or ``process``.
    """
    out = sys.stderr if stream is None else stream
    on_terminal = out.isatty()
    as_json = settings.format == "json" or (settings.format == "auto" and not on_terminal)
    render = _json_chain(static or {}) if as_json else _console_chain(environ, on_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    level = logging.getLevelNamesMapping()[settings.level]
    handler = _Handler(out)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=["repeated"]), *shared],
            processors=[ProcessorFormatter.remove_processors_meta, redact, *render],
        )
    )
    handler.addFilter(_no_aiokafka_debug)
    handler.addFilter(RepeatFilter("aiokafka"))
    handler.addFilter(EventLimit())
    root = logging.getLogger()
    root.handlers = [*(kept for kept in root.handlers if not isinstance(kept, _Handler)), handler]
    root.setLevel(level)
    # Its DEBUG lines hold keys and values ("Sending (key=%s value=%s)", aiokafka 0.14).
    logging.getLogger("aiokafka").setLevel(max(level, logging.INFO))
    for name in _LIBRARIES:
        _adopt(name)
    for name in _ONE_LINE_PER_REQUEST:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a later call must affect existing loggers
    )


def _json_chain(static: Mapping[str, str]) -> list[Processor]:
    def ordered(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
        first = ("ts", "level", "event", "logger")
        head = {name: event_dict.pop(name) for name in first if name in event_dict}
        return {**head, **static, **event_dict}

    return [
        structlog.processors.ExceptionRenderer(exception_fields),
        ordered,
        structlog.processors.JSONRenderer(serializer=_dump),
    ]


def _console_chain(environ: Mapping[str, str], on_terminal: bool) -> list[Processor]:
    colors = "FORCE_COLOR" in environ or (on_terminal and not environ.get("NO_COLOR"))
    return [
        ConsoleRenderer(
            colors=colors, timestamp_key="ts", exception_formatter=_print_exception, pad_event_to=24
        )
    ]


def _print_exception(sio: TextIO, exc_info: ExcInfo) -> None:
    _print_stacks(sio, exception_fields(exc_info), indent="  ")


def _print_stacks(sio: TextIO, stacks: Sequence[dict[str, Any]], *, indent: str) -> None:
    for stack in stacks:
        sio.write(f"\n{indent}{stack['exc_type']}: {stack['exc_value']}")
        sio.writelines(
            f"\n{indent}  {frame['filename']}:{frame['lineno']} in {frame['name']}"
            for frame in stack["frames"]
        )
        for group in stack.get("exceptions", ()):
            _print_stacks(sio, group, indent=indent + "  | ")


def _dump(event_dict: EventDict, **_options: object) -> str:
    try:
        return orjson.dumps(event_dict, default=repr).decode()
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return json.dumps(event_dict, default=repr)


def _no_aiokafka_debug(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or not record.name.startswith("aiokafka")


class _Handler(logging.StreamHandler[TextIO]):
    """Marks our handler among those of the root logger, so that a later call finds it."""


class _AdoptedLogger(logging.Logger):
    """A library's top logger that keeps no handler of its own and always propagates."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 name of the base class
        """Ignore it: lines go to the root's handler."""

    @property
    def propagate(self) -> bool:
        return True

    @propagate.setter
    def propagate(self, value: bool) -> None: ...


def _adopt(name: str) -> None:
    """Have the logger of a library, which may be imported before or after this."""
    before = logging.getLoggerClass()
    logging.setLoggerClass(_AdoptedLogger)
    try:
        logger = logging.getLogger(name)
    finally:
        logging.setLoggerClass(before)
    # A logger that exists already keeps its class: its library has configured it, or we will be
    # asked (uvicorn's ``log_config``).
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
