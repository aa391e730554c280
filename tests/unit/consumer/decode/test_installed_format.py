"""Promises about decoders that other distributions bring."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import InputSettings
from streamlabel.config.loading import load
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.decode.installed_format import InstalledDecoder, open_decoder
from streamlabel.errors import ConfigError, DecodeError, StreamlabelError
from tests.distributions import Install, install

__all__ = ["install"]

GROUP = "streamlabel.decoders"
SOURCE = """
from types import SimpleNamespace
from pydantic import Field
from streamlabel.config.section import FormatSettings
from streamlabel.consumer.core.records import TextRecord

class Settings(FormatSettings):
    prefix: str = Field(min_length=1, description="Of every text.")
    limit: int = Field(9, ge=1, description="Characters.")

class ReverseDecoder:
    def __init__(self, settings):
        self.prefix = settings.prefix
    async def prefetch(self, records): ...
    def decode(self, record):
        return TextRecord(record, "i", self.prefix + record.value.decode()[::-1], 5)

reverse = SimpleNamespace(settings=Settings, load=ReverseDecoder)
"""


def read(**overrides: str) -> InputSettings:
    named = {f"input.{name.replace('__', '.')}": value for name, value in overrides.items()}
    return load(None, overrides={"model.backend": "fake", **named}, environ={}).settings.input


def record(value: bytes | None = b"abc", **more: Any) -> SourceRecord:  # noqa: ANN401 any field
    return SourceRecord(Position("t", 0, 4), None, value, (), 77, 0.0, **more)


@pytest.fixture
def reverse(install: Install) -> None:
    install("reverse-format", {GROUP: {"reverse": "reverse_one:reverse"}}, reverse_one=SOURCE)


@pytest.mark.usefixtures("reverse")
def test_it_decodes_with_settings_of_its_own() -> None:
    settings = read(format="reverse", decoder__prefix=">")
    found = open_decoder(settings).decode(record())
    assert (found.text, found.id, found.event_time_ms) == (">cba", "i", 5)
    assert isinstance(open_decoder(InputSettings()), Decoder)


@pytest.mark.usefixtures("reverse")
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"format": "reverse"}, "input.decoder.prefix: missing; set it: Of every text"),
        (
            {"format": "reverse", "decoder__prefix": "x", "decoder__limit_": "3"},
            "input.decoder.limit_: unknown setting; did you mean input.decoder.limit?",
        ),
        (
            {"format": "reverse", "decoder__prefix": "x", "decoder__limit": "0"},
            "input.decoder.limit: must be at least 1, is ",
        ),
        (
            {"format": "reverse", "decoder__prefix": "x", "framing": "confluent"},
            "input.framing: not supported by format reverse; set framing: none",
        ),
        (
            {"format": "thrift"},
            'input.format: "thrift" is not a format; available: json, text, clou',
        ),
        ({"format": "thrift"}, "installed: reverse; to add one, register an entry point in the"),
    ],
)
def test_what_is_wrong_with_its_settings_is_said(wrong: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(**wrong)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("reverse = 3", "without settings and load"),
    ],
)
def test_a_broken_one_is_named(install: Install, source: str, sentence: str) -> None:
    install("broken-format", {GROUP: {"broken": "broken_two:reverse"}}, broken_two=source)
    with pytest.raises(ConfigError, match=rf"input\.format: .*broken-format 1\.0 .*{sentence}"):
        read(format="broken")


@pytest.mark.parametrize(
    ("load_line", "sentence"),
    [
        ("lambda settings: 1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("lambda settings: settings", "returned a FormatSettings without prefetch and decode"),
    ],
)
def test_one_that_cannot_be_opened_is_named(
    install: Install, load_line: str, sentence: str
) -> None:
    source = (
        "from streamlabel.config.section import FormatSettings\n"
        f"class it: settings = FormatSettings; load = {load_line}\n"
    )
    install("closed-format", {GROUP: {"closed": "closed_one:it"}}, closed_one=source)
    with pytest.raises(ConfigError, match=f"the format closed of closed-format 1.0 {sentence}"):
        open_decoder(read(format="closed"))


def test_a_name_of_ours_is_refused(install: Install) -> None:
    install("thief-format", {GROUP: {"json": "reverse_two:reverse"}}, reverse_two=SOURCE)
    with pytest.raises(ConfigError, match=r"input\.format: json is built into streamlabel"):
        read(format="json")


class Scripted:
    """A decoder that does what it is told."""

    def __init__(self, result: object) -> None:
        self.result = result

    async def prefetch(self, _records: object) -> None:
        if isinstance(self.result, BaseException):
            raise self.result

    def decode(self, _record: object) -> object:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def decode(result: object, source: SourceRecord | None = None) -> TextRecord:
    return InstalledDecoder(Scripted(result), who="the format x").decode(source or record())


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (DecodeError("schema", "no field"), "schema"),
        (DecodeError("a reason of its own", "no field"), "schema"),
        (KeyError("the secret text"), "decoder_error"),
        (RecursionError("the secret text"), "decoder_error"),
        (None, "decoder_error"),
        ("the secret text", "decoder_error"),
        (TextRecord(record(), "i", None, 5), "decoder_error"),  # type: ignore[arg-type]
        (TextRecord(record(), "i", " \u200b", 5), "empty_text"),
        (TextRecord(record(), "i", "x \ud800", 5), "bad_encoding"),
    ],
)
def test_a_fault_costs_one_record_and_quotes_nothing(result: object, reason: str) -> None:
    with pytest.raises(DecodeError) as raised:
        decode(result)
    assert raised.value.reason == reason
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_it_never_sees_a_record_without_a_value() -> None:
    unseen = ZeroDivisionError()
    with pytest.raises(DecodeError, match="tombstone"):
        decode(unseen, record(None))
    with pytest.raises(DecodeError, match="the client library cannot read it: torn"):
        decode(unseen, record(None, undecodable="torn"))


ANY: Any = st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text())


@given(identity=ANY, time=ANY, metadata=ANY)
def test_what_outputs_rely_on_holds_whatever_it_returns(
    identity: Any,  # noqa: ANN401
    time: Any,  # noqa: ANN401
    metadata: Any,  # noqa: ANN401
) -> None:
    found = decode(TextRecord(record(), identity, "text", time, metadata))
    assert found.source == record()
    assert found.id.strip()
    assert len(found.id.encode()) <= 4 * 256
    assert type(found.event_time_ms) is int
    assert found.metadata is None or b"\n" not in found.metadata
    assert found.metadata_dropped == (metadata is not None and found.metadata is None)


async def test_what_cannot_be_fetched_ends_the_service_with_a_sentence() -> None:
    with pytest.raises(StreamlabelError, match=r"the format x cannot fetch .*: late"):
        await InstalledDecoder(Scripted(TimeoutError("late")), who="the format x").prefetch([])
