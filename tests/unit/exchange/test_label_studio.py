"""Tasks for Label Studio and back, through its own converter."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.exchange.judgements import facts_of, verdicts_of
from streamlabel.exchange.label_studio import judgements_of, task_of
from tests.requirements import missing
from tests.verdicts import a_verdict

CONFIG = """<View><Text name="text" value="$text"/>
<Choices name="label" toName="text" choice="multiple">
<Choice value="spam"/><Choice value="ham"/></Choices></View>"""


def back(tasks: object, *known: VerdictMessage) -> list[VerdictMessage]:
    """Return the verdicts of tasks, of people whose pseudonyms are all the same."""
    judgements, faults = judgements_of(json.loads(json.dumps(tasks)))
    assert faults == []
    facts = {each.review_id: facts_of(each) for each in known}
    verdicts, faults = verdicts_of(judgements, facts, pseudonym=lambda _: "p-ann")
    assert faults == []
    return verdicts


DECISIONS = st.one_of(
    st.tuples(st.just("skip"), st.none()),
    st.tuples(st.just("unsure"), st.none()),
    st.tuples(st.just("confirm"), st.just(["spam"])),
    st.tuples(st.just("correct"), st.just(["ham", "spam"])),
    st.tuples(st.just("correct"), st.just(["ham"])),
)


@given(DECISIONS, st.none() | st.integers(0, 10**9), st.text(max_size=20))
def test_a_verdict_comes_back_as_it_was(
    decision: tuple[str, list[str] | None], duration_ms: int | None, text: str
) -> None:
    action, labels = decision
    verdict = a_verdict(action=action, labels=labels, duration_ms=duration_ms)
    task = task_of(facts_of(verdict), text, verdicts=[verdict])
    assert back([task], verdict) == [verdict]


def test_label_studios_converter_reads_the_tasks_and_its_copy_is_read(tmp_path: Path) -> None:
    try:
        from label_studio_sdk.converter import Converter
    except ImportError as error:
        missing(f"needs label-studio-sdk: make setup installs it ({error})")
    verdicts = [
        a_verdict(),
        a_verdict(review_id="r2", id="r2", task=None, action="confirm", labels=["spam"]),
        a_verdict(review_id="r3", id="r3", labels=["spam", "ham"], model_labels=["ham"]),
    ]
    tasks = [
        {"id": number, **task_of(facts_of(each), f"text {number}", verdicts=[each])}
        for number, each in enumerate(verdicts, 1)
    ]
    exported = tmp_path / "tasks.json"
    exported.write_text(json.dumps(tasks))
    converter = Converter(CONFIG, str(tmp_path))
    converter.convert_to_json_min(str(exported), str(tmp_path / "min"), is_dir=False)
    rows = json.loads((tmp_path / "min" / "result.json").read_text())
    assert [(row["review_id"], row["text"], row["label"]) for row in rows] == [
        ("tone/r1", "text 1", "ham"),
        ("r2", "text 2", "spam"),
        ("r3", "text 3", {"choices": ["spam", "ham"]}),
    ]
    converter.convert_to_json(str(exported), str(tmp_path / "json"), is_dir=False)
    copy = json.loads((tmp_path / "json" / "result.json").read_text())
    assert back(copy, *verdicts) == verdicts


def test_of_a_blind_item_nothing_of_the_models_answer_is_in_the_task() -> None:
    task = task_of(facts_of(a_verdict(labels=None, action="unsure")), "t", is_blind=True)
    assert task["predictions"] == []
    assert "spam" not in json.dumps(task)
    assert "0.6" not in json.dumps(task)


def test_annotations_of_several_people_are_looks_in_order_of_time() -> None:
    times = ("2026-11-29T13:00:00Z", "2026-11-29T12:00:00+00:00", "2026-11-29T14:00:00.5+01:00")
    annotations = [
        {"result": [], "created_at": time, "completed_by": number}
        for number, time in enumerate(times)
    ]
    task = {"data": {"review_id": "r1"}, "annotations": annotations}
    judgements, _ = judgements_of([task])
    verdicts, faults = verdicts_of(judgements, {}, pseudonym=lambda name: name)
    assert faults == []
    assert [(each.review_id, each.look, each.reviewer) for each in verdicts] == [
        ("r1", 1, "label-studio/1"),
        ("r1#2", 2, "label-studio/0"),
        ("r1#3", 3, "label-studio/2"),
    ]
    assert {each.review_probability for each in verdicts} == {None}


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("x", "data.review_id is missing"),
        ({"data": {"text": "a"}}, "data.review_id is missing"),
        ({"data": {"review_id": 3}}, "data.review_id is missing"),
        ({"data": {"review_id": "r"}, "label": "spam"}, "export as JSON, not JSON-MIN"),
        ({"data": {"review_id": "r"}, "annotations": [3]}, "not an object"),
        ({"data": {"review_id": "r"}, "annotations": [{"result": []}]}, "created_at"),
        (
            {
                "data": {"review_id": "r"},
                "annotations": [
                    {
                        "created_at": "2026-11-29T12:00:00Z",
                        "result": [{"from_name": "mood", "value": {"choices": ["x"]}}],
                    }
                ],
            },
            "nothing is named label, but mood; see --control",
        ),
        (
            {
                "data": {"review_id": "r"},
                "annotations": [
                    {
                        "created_at": "2026-11-29T12:00:00Z",
                        "result": [{"from_name": "label", "value": {"rating": 3}}],
                    }
                ],
            },
            "label: its value has no choices",
        ),
    ],
)
def test_what_cannot_become_a_verdict_is_named_and_the_rest_is_read(task: Any, why: str) -> None:  # noqa: ANN401
    good = task_of(facts_of(a_verdict()), "t", verdicts=[a_verdict()])
    judgements, faults = judgements_of([task, good])
    assert len(judgements) == 1
    assert [fault.place.partition(",")[0] for fault in faults] == ["task 1"]
    assert why in faults[0].why


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "review_id", "annotations", "result", "from_name", "value", "choices"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4))
def test_any_json_is_read_without_an_error_of_ours(tasks: list[Any]) -> None:
    judgements, _ = judgements_of(tasks)
    assert all(each.at <= datetime.max.replace(tzinfo=UTC) for each in judgements)
