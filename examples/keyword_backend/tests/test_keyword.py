"""Tests of the example; run them with ``pytest`` after installing it."""

import asyncio

import pytest

from streamlabel.api import DecodeError, Position, SourceRecord
from streamlabel.testing import check_classifier
from streamlabel_keyword.backend import KeywordClassifier, KeywordSettings
from streamlabel_keyword.logfmt import LogfmtDecoder, LogfmtSettings

SETTINGS = KeywordSettings(keywords={"praise": ["good", "fine"], "complaint": ["bad"]})


async def _open() -> KeywordClassifier:
    return KeywordClassifier(SETTINGS)


def test_it_keeps_the_promises_of_a_classifier() -> None:
    asyncio.run(check_classifier(_open))


def test_keywords_decide() -> None:
    async def answer() -> tuple[float, ...] | None:
        classifier = await _open()
        prepared = await classifier.prepare(["Good, very good, not bad"])
        (prediction,) = await classifier.classify(prepared)
        return prediction.probabilities

    praise, complaint = asyncio.run(answer()) or (0.0, 0.0)
    assert praise > complaint


def _record(value: bytes) -> SourceRecord:
    return SourceRecord(Position("logs", 0, 4), None, value, (), 1_700_000_000_000, 0.0)


def test_a_line_becomes_a_text() -> None:
    decoder = LogfmtDecoder(LogfmtSettings())
    record = decoder.decode(_record(b'level=info msg="it \\"works\\"" id=7'))
    assert (record.text, record.id) == ('it "works"', "7")
    assert decoder.decode(_record(b"msg=short")).id == "logs-0-4"


@pytest.mark.parametrize(("value", "reason"), [(b"\xff", "bad_encoding"), (b"a=b", "schema")])
def test_what_is_no_such_line_says_why(value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as raised:
        LogfmtDecoder(LogfmtSettings()).decode(_record(value))
    assert raised.value.reason == reason
