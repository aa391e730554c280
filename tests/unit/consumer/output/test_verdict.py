"""Verdicts: what a person decided, as a message that other tools read and write."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.output.schemas import schemas
from streamlabel.consumer.output.verdict import VerdictMessage, read_verdict
from streamlabel.errors import VerdictError

LEAST: dict[str, Any] = {
    "schema": "streamlabel.verdict/v1",
    "review_id": "moderation/7",
    "id": "7",
    "action": "correct",
    "labels": ["spam"],
    "saw_model_answer": True,
    "reviewer": "r-41",
    "decided_at": "2026-11-29T10:00:00Z",
    "review_probability": 0.02,
}


VALIDATOR = jsonschema.Draft202012Validator(schemas()["verdict"])


def encoded(**changed: object) -> bytes:
    return json.dumps(LEAST | changed).encode()


@given(
    st.fixed_dictionaries(
        {
            "labels": st.lists(st.text(min_size=1), max_size=3),
            "review_probability": st.none() | st.floats(1e-300, 1),
            "model_confidence": st.none() | st.floats(0, 1),
            "duration_ms": st.none() | st.integers(0, 10**12),
            "look": st.integers(1, 9),
        }
    )
)
def test_a_verdict_is_read_as_it_was_written(changed: dict[str, Any]) -> None:
    verdict = read_verdict(encoded(**changed))
    assert read_verdict(verdict.encoded()) == verdict
    for name, written in changed.items():
        assert getattr(verdict, name) == written
    VALIDATOR.validate(json.loads(verdict.encoded()))


def test_unknown_fields_of_a_later_writer_are_ignored() -> None:
    assert read_verdict(encoded(mood="fine")) == read_verdict(encoded())


def test_the_weight_is_the_inverse_of_the_probability_of_review() -> None:
    assert read_verdict(encoded()).weight == 50
    assert read_verdict(encoded(review_probability=None)).weight is None
    assert read_verdict(encoded(review_probability=5e-324)).weight is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schema": "streamlabel.verdict/v2"}, "^schema: Input should be 'streamlabel.verdict/v1'"),
        ({"review_probability": 0}, "^review_probability: Input should be greater than 0$"),
        ({"decided_at": "yesterday"}, "^decided_at: "),
        ({"labels": None}, "the verdict: .*action correct needs labels"),
        ({"action": "skip"}, "the verdict: .*action skip has labels"),
        ({"reviewer": ""}, "^reviewer: "),
    ],
)
def test_what_is_no_verdict_is_refused_with_the_field(
    changed: dict[str, object], message: str
) -> None:
    with pytest.raises(VerdictError, match=message):
        read_verdict(encoded(**changed))


@pytest.mark.parametrize("value", [b"", b"[]", b"\xff", b"{", b"null"])
def test_bytes_that_are_no_verdict_are_refused(value: bytes) -> None:
    with pytest.raises(VerdictError, match="the verdict"):
        read_verdict(value)


def test_a_refusal_does_not_show_what_was_in_it() -> None:
    with pytest.raises(VerdictError, match="action") as refusal:
        read_verdict(encoded(action="my secret text"))
    assert "secret" not in str(refusal.value)


def test_the_message_has_the_schema_first() -> None:
    verdict = VerdictMessage.model_validate(LEAST)
    assert verdict.encoded().startswith(b'{"schema":"streamlabel.verdict/v1"')
