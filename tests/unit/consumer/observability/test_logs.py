"""Logs: one pipeline, stable keys, no content of records, no secrets, no local variables."""

import io
import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import structlog
from pydantic import TypeAdapter

from streamlabel.config.settings import LoggingSettings
from streamlabel.consumer.observability import logs
from streamlabel.consumer.observability.log_repeats import EventLimit, RepeatFilter
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.errors import ConfigError

PLANTED = "meet me behind the old mill"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Log:
    """Everything that one configured process writes."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def libraries_left_as_found() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("aiokafka", "aiokafka.producer")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.getLogger("vllm").setLevel(logging.NOTSET)


def configured(
    stream: io.StringIO | None = None,
    *,
    level: str = "INFO",
    form: str = "json",
    environ: dict[str, str] | None = None,
    static: dict[str, str] | None = None,
) -> _Log:
    out = io.StringIO() if stream is None else stream
    settings = LoggingSettings.model_validate({"level": level, "format": form})
    configure_logging(settings, environ=environ or {}, stream=out, static=static)
    return _Log(out)


def test_a_line_begins_with_the_stable_keys() -> None:
    log = configured(static={"version": "1.2.3"})
    structlog.get_logger("streamlabel.consumer.pipeline").info("batch", items=3, infer_s=0.25)
    (line,) = log.lines
    assert list(line) == ["ts", "level", "event", "logger", "version", "items", "infer_s"]
    assert line["level"] == "info"
    assert line["event"] == "batch"
    assert line["logger"] == "streamlabel.consumer.pipeline"
    assert line["ts"].endswith("Z")


def test_a_library_line_has_the_same_keys() -> None:
    log = configured()
    logging.getLogger("aiokafka.consumer").warning("lost %s", "the broker")
    (line,) = log.lines
    assert list(line) == ["ts", "level", "event", "logger"]
    assert line["event"] == "lost the broker"
    assert line["logger"] == "aiokafka.consumer"


def test_lines_below_the_level_are_not_written() -> None:
    log = configured(level="WARNING")
    structlog.get_logger("a").info("quiet")
    logging.getLogger("b").info("quiet")
    structlog.get_logger("a").warning("loud")
    assert [line["event"] for line in log.lines] == ["loud"]


def test_aiokafka_is_never_at_debug() -> None:
    """Its debug lines hold keys and values."""
    log = configured(level="DEBUG")
    child = logging.getLogger("aiokafka.producer")
    child.debug("Sending (key=%s value=%s)", b"k", PLANTED)
    child.setLevel(logging.DEBUG)  # not even when someone asks for it
    child.debug("Sending (key=%s value=%s)", b"k", PLANTED)
    structlog.get_logger("streamlabel").debug("ours")
    assert [line["event"] for line in log.lines] == ["ours"]


def test_a_library_that_brings_its_own_handler_still_logs_here_once() -> None:
    assert {"transformers", "vllm", "uvicorn"} <= set(logs._LIBRARIES)
    name = "not_imported_yet"  # as those are when a process of ours configures its log
    with patch.object(logs, "_LIBRARIES", [name]):
        log = configured()
    other = io.StringIO()
    library = logging.getLogger(name)
    library.addHandler(logging.StreamHandler(other))
    library.propagate = False
    logging.getLogger(f"{name}.part").error("broken")
    assert [line["event"] for line in log.lines] == ["broken"]
    assert other.getvalue() == ""


def test_a_library_that_was_imported_before_keeps_no_handler() -> None:
    library = logging.getLogger("vllm.imported_before")
    other = io.StringIO()
    library.addHandler(logging.StreamHandler(other))
    library.propagate = False
    with patch.object(logs, "_LIBRARIES", ["vllm.imported_before"]):
        log = configured()
    library.error("broken")
    assert [line["event"] for line in log.lines] == ["broken"]
    assert other.getvalue() == ""


@pytest.mark.parametrize("name", ["text", "Text", "value", "texts", "payload", "key", "prompt"])
@pytest.mark.parametrize("form", ["json", "console"])
def test_content_of_a_record_is_masked(name: str, form: str) -> None:
    log = configured(form=form)
    structlog.get_logger("a").info("oops", **{name: PLANTED})
    structlog.get_logger("a").info("oops", nested={"deep": [{name: [PLANTED]}]})
    structlog.get_logger("a").info("oops", **{name: PLANTED.encode()})
    assert "mill" not in log.text
    assert log.text.count("[redacted]") == 3


def test_a_library_that_repeats_itself_is_heard_once() -> None:
    log = configured()
    for _ in range(500):
        logging.getLogger("aiokafka.conn").error("Unable connect to node with id %s", 1)
    logging.getLogger("aiokafka.conn").error("Unable connect to node with id %s", 2)
    assert [line["event"][-4:] for line in log.lines] == ["id 1", "id 2"]


def test_what_was_held_back_is_counted_when_it_is_said_again() -> None:
    now_s = 0.0
    repeats = RepeatFilter("aiokafka", window_s=10.0, now_s=lambda: now_s)

    def said(logger: str = "aiokafka") -> logging.LogRecord | None:
        record = logging.LogRecord(logger, logging.ERROR, "f.py", 1, "no broker", (), None)
        return record if repeats.filter(record) else None

    assert said() is not None
    assert [said() for _ in range(7)] == [None] * 7
    assert all(said("streamlabel.consumer.delivery.partition_delivery") for _ in range(3))
    now_s = 10.0
    again = said()
    assert again is not None
    assert vars(again)["repeated"] == 7
    assert said("aiokafkaesque") is not None


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
@pytest.mark.parametrize("name", ["uvicorn.access", "httpx", "httpcore.connection", "openai"])
def test_libraries_that_log_every_request_log_none(name: str, level: str) -> None:
    log = configured(level=level)
    for _ in range(50):
        logging.getLogger(name).info("GET /livez 200")
    logging.getLogger(name).error("broken")
    assert [line["event"] for line in log.lines] == ["broken"]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
@pytest.mark.parametrize("lines", [99, 100, 101, 2_000])
def test_no_event_fills_a_disk_however_often_it_happens(level: str, lines: int) -> None:
    log = configured()
    ours = structlog.get_logger("streamlabel.consumer.batching.failure_isolation")
    for number in range(lines):
        getattr(ours, level)("inference_retry", items=number)
    ours.error("something_else")
    assert len(log.lines) == min(lines, 100) + 1  # the first ones at once, others not affected


def test_what_a_limit_held_back_is_counted_in_the_next_line() -> None:
    now_s = 0.0
    limit = EventLimit(burst=2, window_s=10.0, now_s=lambda: now_s)

    def said(event: object, level: int = logging.WARNING) -> logging.LogRecord | None:
        record = logging.LogRecord("ours", level, "f.py", 1, event, (), None)
        return record if limit.filter(record) else None

    assert [said({"event": "a"}) is not None for _ in range(5)] == [True, True, False, False, False]
    assert all(said({"event": "a"}, logging.DEBUG) for _ in range(5))
    assert said("text of a library") is not None
    now_s = 10.0
    again = said({"event": "a"})
    assert again is not None
    assert vars(again)["msg"] == {"event": "a", "repeated": 3}


def test_a_number_under_a_content_name_stays() -> None:
    log = configured()
    structlog.get_logger("a").info("limits", value=3, key=None)
    assert log.lines[0]["value"] == 3
    assert log.lines[0]["key"] is None


@pytest.mark.parametrize("name", ["password", "key_password", "sasl_PASSWORD", "api_key", "token"])
def test_a_secret_is_masked(name: str) -> None:
    log = configured()
    structlog.get_logger("a").info("oops", **{name: "hunter2"})
    assert log.lines[0][name] == "[redacted]"


@pytest.mark.parametrize("name", ["padded_tokens", "token_budget", "labels", "reasons"])
def test_our_own_fields_are_not_masked(name: str) -> None:
    log = configured()
    structlog.get_logger("a").info("batch", **{name: 4096})
    assert log.lines[0][name] == 4096


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_unknown_object_shows_only_its_type(form: str) -> None:
    class Holder:
        def __repr__(self) -> str:
            return PLANTED

    log = configured(form=form)
    structlog.get_logger("a").info("oops", thing=Holder(), path=Path("x/y"), raw=PLANTED.encode())
    assert "mill" not in log.text
    assert "[Holder]" in log.text
    assert "x/y" in log.text


def test_a_long_field_is_cut() -> None:
    log = configured()
    structlog.get_logger("a").info("oops", cause="x" * 5000)
    assert len(log.text) < 1500
    assert "4000 more characters" in log.text


def _fail(text: str) -> None:
    local = f"{text}!"
    raise ConfigError(f"model.path: does not exist ({len(local)} characters)")


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_logged_without_local_variables(form: str) -> None:
    log = configured(form=form)
    try:
        _fail(PLANTED)
    except ConfigError:
        structlog.get_logger("a").exception("refused")
    assert "mill" not in log.text
    assert "does not exist" in log.text
    assert "_fail" in log.text


def test_an_exception_is_one_structured_field_on_one_line() -> None:
    log = configured()
    try:
        _fail(PLANTED)
    except ConfigError:
        logging.getLogger("vllm.engine").exception("refused")
    (line,) = log.lines
    (stack,) = line["exception"]
    assert stack["exc_type"] == "ConfigError"
    assert stack["frames"][-1]["name"] == "_fail"
    assert "locals" not in stack["frames"][-1]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "quote",
    [
        lambda: TypeAdapter(int).validate_python(PLANTED),
        (PLANTED + "\ud800").encode,
    ],
    ids=["pydantic", "encode"],
)
def test_an_error_that_quotes_its_input_loses_its_message(
    form: str, quote: Callable[[], object]
) -> None:
    log = configured(form=form)
    try:
        quote()
    except ValueError as error:
        structlog.get_logger("a").exception("one")
        structlog.get_logger("a").warning("two", cause=error)
    assert "mill" not in log.text
    assert log.text.count("withheld") == 2


def test_errors_inside_a_group_lose_it_too() -> None:
    log = configured()
    try:
        TypeAdapter(int).validate_python(PLANTED)
    except ValueError as error:
        group = ExceptionGroup("several", [error])
        structlog.get_logger("a").error("one", exc_info=group)
    assert "mill" not in log.text
    assert "withheld" in log.text


def test_a_lone_surrogate_does_not_break_the_line() -> None:
    log = configured()
    structlog.get_logger("a").info("odd", label="\ud800", big=2**70)
    assert log.lines[0]["big"] == 2**70


def test_python_warnings_become_lines() -> None:
    log = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "DeprecationWarning: old" in log.lines[0]["event"]


def test_auto_is_json_away_from_a_terminal() -> None:
    log = configured(form="auto")
    structlog.get_logger("a").info("hello")
    assert log.lines[0]["event"] == "hello"


def test_auto_is_a_coloured_console_on_a_terminal() -> None:
    log = configured(_Terminal(), form="auto")
    structlog.get_logger("a").info("hello", items=3)
    assert "\x1b[" in log.text
    assert "hello" in log.text


def test_no_color_is_respected() -> None:
    log = configured(_Terminal(), form="auto", environ={"NO_COLOR": "1"})
    structlog.get_logger("a").info("hello", items=3)
    assert "\x1b[" not in log.text
    assert "items=3" in log.text


def test_a_later_call_replaces_the_earlier() -> None:
    first, logger = configured(), structlog.get_logger("a")
    logger.info("one")
    second = configured()
    logger.info("two")
    assert [line["event"] for line in first.lines] == ["one"]
    assert [line["event"] for line in second.lines] == ["two"]


def test_the_set_up_can_be_sent_to_the_worker_process() -> None:
    call = partial(configure_logging, LoggingSettings(), environ={}, static={"process": "worker"})
    arrived = pickle.loads(pickle.dumps(call))  # noqa: S301 our own bytes
    assert arrived.func is configure_logging
    assert arrived.keywords == {"environ": {}, "static": {"process": "worker"}}
