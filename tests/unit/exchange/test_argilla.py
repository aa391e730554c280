"""Argilla's exports: shapes as ``dataset.records.to_json`` of version 2.8 writes them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from streamlabel.exchange.argilla import judgements_of
from streamlabel.exchange.judgements import verdicts_of

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def record(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 any field
    fields: dict[str, Any] = {
        "id": "r1",
        "status": "completed",
        "fields": {"text": "win now"},
        "metadata": {},
        "suggestions": {"label": {"value": "spam", "score": 0.6, "agent": "d1"}},
        "responses": {"label": [{"value": "ham", "user_id": "0f1e"}]},
        "vectors": {},
        "_server_id": "9b",
    }
    return fields | changes


def test_responses_become_verdicts_of_their_users() -> None:
    both = {"label": [{"value": ["ham"], "user_id": "a"}, {"value": None, "user_id": "b"}]}
    judgements, faults = judgements_of(
        [record(), record(id="x", metadata={"review_id": "r2"}, responses=both, suggestions={})],
        at=AT,
    )
    assert faults == []
    verdicts, faults = verdicts_of(judgements, {}, pseudonym=lambda name: name)
    assert faults == []
    assert [
        (each.review_id, each.action, each.labels, each.reviewer, each.saw_model_answer)
        for each in verdicts
    ] == [
        ("r1", "correct", ["ham"], "argilla/0f1e", True),
        ("r2", "correct", ["ham"], "argilla/a", False),
        ("r2#2", "skip", None, "argilla/b", False),
    ]


def test_a_record_without_responses_is_left_out() -> None:
    assert judgements_of([record(responses={}), record(responses=None)], at=AT) == ([], [])


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (3, "not an object"),
        (record(id=None), "neither metadata.review_id nor id"),
        (record(responses=["spam"]), "export with to_json"),
        (record(responses={"a": [], "b": []}), "several questions (a, b): name one by --question"),
        (record(responses={"label": [{"value": 3}]}), "neither a label nor a list of labels"),
    ],
)
def test_what_cannot_become_a_verdict_is_named(broken: object, why: str) -> None:
    judgements, [fault] = judgements_of([broken, record()], at=AT)
    assert len(judgements) == 1
    assert fault.place == "record 1"
    assert why in fault.why
