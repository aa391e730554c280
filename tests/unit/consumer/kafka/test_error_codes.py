"""Any answer of a broker has one of three meanings, whether anybody has heard of it or not."""

import importlib

import pytest
from aiokafka import errors as kafka
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.kafka import error_codes as kafka_codes
from streamlabel.consumer.kafka.error_codes import is_doubtful, is_temporary, meaning, name_of

CODES = st.integers(-(2**15), 2**15 - 1)  # an Int16 on the wire


@given(CODES)
def test_every_number_has_a_meaning_and_a_class_that_keeps_it(code: int) -> None:
    assert meaning(code) in {"retry", "record", "final"}
    error = kafka.for_code(code)()
    if code:
        assert error.errno == code
        assert str(code) in name_of(error)
    assert kafka.for_code(code) is kafka.for_code(code)


@given(CODES.filter(lambda code: not -1 <= code <= 133))
def test_what_nobody_has_heard_of_is_about_a_record_and_tried_once_more(code: int) -> None:
    assert meaning(code) == "record"
    assert is_doubtful(code)


@pytest.mark.parametrize("code", sorted(kafka.kafka_errors))
def test_what_aiokafka_retries_by_itself_is_never_a_dead_letter(code: int) -> None:
    if kafka.for_code(code).retriable:
        assert meaning(code) == "retry"


@pytest.mark.parametrize(
    ("meant", "codes"),
    [
        # too large, a timestamp out of range, the message format, a policy, the topic's own rules
        ("record", [-1, 2, 10, 18, 32, 42, 43, 44, 87]),
        ("retry", [3, 5, 6, 7, 19, 20, 45, 47, 49, 51, 56, 59, 74, 89, 90, 120]),
        ("final", [17, 29, 30, 31, 33, 34, 35, 53, 54, 58, 76]),
    ],
)
def test_what_a_broker_answers_to_outputs_means_what_kafka_documents(
    meant: str, codes: list[int]
) -> None:
    assert [meaning(code) for code in codes] == [meant] * len(codes)


@pytest.mark.parametrize("code", [74, 83, 88, 89, 100, 133])
def test_aiokafka_waits_for_what_it_did_not_know_to_be_temporary(code: int) -> None:
    assert is_temporary(code)
    assert kafka.for_code(code).retriable
    assert not kafka.for_code(87).retriable


@given(CODES)
def test_others_who_use_aiokafka_get_the_errors_that_they_know(code: int) -> None:
    """The table is one for the process: what was an UnknownError still is."""
    known = {each.errno: each for each in _subclasses(kafka.BrokerResponseError)}
    error = kafka.for_code(code)
    assert error is known[code] if code in known else issubclass(error, kafka.UnknownError)


def test_completing_the_table_again_changes_nothing() -> None:
    table, added = kafka.kafka_errors, kafka.for_code(133)
    importlib.reload(kafka_codes)
    assert dict(kafka.kafka_errors) == dict(table)
    assert kafka.for_code(133) is added


def _subclasses(kind: type[kafka.BrokerResponseError]) -> list[type[kafka.BrokerResponseError]]:
    """Those of aiokafka itself."""
    found = [each for each in kind.__subclasses__() if each.__module__ == "aiokafka.errors"]
    return [*found, *(each for one in found for each in _subclasses(one))]
