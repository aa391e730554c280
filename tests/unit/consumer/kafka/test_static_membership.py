"""A name that two processes have, and one that a paused process has alone."""

from aiokafka.errors import KafkaError, for_code
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.error_codes import name_of
from streamlabel.consumer.kafka.static_membership import (
    StaticMembership,
    is_fenced,
    same_name,
)

SESSION_S = 45.0


def test_the_brokers_own_word_for_it_is_understood() -> None:
    assert name_of(for_code(82)()) == "FENCED_INSTANCE_ID (82)"
    assert is_fenced(KafkaError(repr(for_code(82)())))
    assert not is_fenced(KafkaError(repr(for_code(81)())))
    refusal = same_name(KafkaSettings(group_id="g", group_instance_id="pod-0"))
    assert "group_instance_id, pod-0" in str(refusal)
    assert not refusal.retriable


def test_two_processes_that_alternate_are_noticed_at_the_second_time() -> None:
    member = StaticMembership(session_s=SESSION_S)
    assert [member.replaced(now_s) for now_s in (1000.0, 1006.0)] == [False, True]


@given(st.lists(st.floats(SESSION_S, 1e6), max_size=20))
def test_pauses_of_any_number_are_no_second_process(pauses_s: list[float]) -> None:
    """Each has to last for a session to cost the membership."""
    member = StaticMembership(session_s=SESSION_S)
    now_s = 0.0
    for pause_s in [0.0, *pauses_s]:
        now_s += pause_s
        assert not member.replaced(now_s)
