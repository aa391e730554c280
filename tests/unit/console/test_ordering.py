"""How urgent records are, and which texts are alike."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from streamlabel.config.console import OrderSettings
from streamlabel.console.topics.ordering import due_time, near_key, priority, value_at

HOUR_MS = 3_600_000
PLAIN = OrderSettings()


def urgency(order: OrderSettings = PLAIN, **changes: Any) -> float:  # noqa: ANN401 any argument
    values: dict[str, Any] = {
        "event_time_ms": 1_000 * HOUR_MS,
        "due_at": None,
        "labels": ["ham"],
        "confidence": 1.0,
    }
    return priority(order, **values | changes)


def test_the_older_the_severer_the_less_certain_and_the_sooner_due_is_more_urgent() -> None:
    order = OrderSettings(severity={"threat": 12, "insult": 3}, uncertainty_weight=2)
    due = datetime.fromtimestamp(1_001 * 3600, UTC)
    ranks = [
        urgency(order),
        urgency(order, confidence=0.5),  # 1 hour
        urgency(order, confidence=None),  # 2
        urgency(order, labels=["insult"]),  # 3
        urgency(order, labels=["insult", "threat"]),  # the largest: 12
        urgency(order, due_at=due),  # 1 hour left of 24
        urgency(order, event_time_ms=976 * HOUR_MS),  # waits for 24, and is due 24 earlier
    ]
    assert ranks == sorted(ranks)
    assert [round(after - before, 6) for before, after in pairwise(ranks)] == [
        1, 1, 1, 9, 11, 25,
    ]  # fmt: skip


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 500), st.integers(0, 10**12))
def test_the_order_of_two_does_not_depend_on_the_time(
    first: float, second: float, hours: int, start_ms: int
) -> None:
    def ahead(at_ms: int) -> float:
        older = urgency(event_time_ms=at_ms, confidence=first)
        return older - urgency(event_time_ms=at_ms + hours * HOUR_MS, confidence=second)

    assert ahead(0) == pytest.approx(ahead(start_ms), abs=1e-3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-29T12:00:00Z", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        ("2026-11-29T13:00:00+01:00", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        ("2026-11-29T12:00:00", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        (1_795_953_600_000, datetime(2026, 11, 29, 12, tzinfo=UTC)),
        ("tomorrow", None),
        (True, None),
        (None, None),
        (-1, None),
        (1e300, None),
        (2**53 - 1, None),
        ({}, None),
    ],
)
def test_a_due_time_is_read_where_it_can_be(value: JsonValue, expected: datetime | None) -> None:
    assert due_time({"due": value}, "due") == expected


def test_a_value_is_found_at_its_dotted_path() -> None:
    metadata: JsonValue = {"a": {"b": [1]}}
    assert value_at(metadata, "a.b") == [1]
    for path in (None, "a.c", "a.b.0", "x"):
        assert value_at(metadata, path) is None
    assert value_at("text", "a") is None


def test_texts_that_differ_in_case_digits_or_signs_are_alike() -> None:
    same = ["Win 100 now!", "win 5 NOW", "win\n now...", "WIN, now?"]
    assert len({near_key(text) for text in same}) == 1
    assert (
        len({near_key(text) for text in ("win now", "win", "\U0001f600", "\U0001f601", "1")}) == 5
    )


@given(st.text())
def test_any_text_has_a_key(text: str) -> None:
    assert len(near_key(text)) == 32
