"""The monitor: which verdicts count, what begins again, and what happens after an alarm."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.errors import ConfigError
from streamlabel.learning.following import MonitorMetrics
from streamlabel.learning.ledger import verdicts_of_file
from streamlabel.learning.monitor import Standing, Target, TargetMonitor, is_audit
from streamlabel.learning.tightening import (
    Deployed,
    deployed_of,
    next_step,
    next_stricter,
    tightened_file,
    tightened_settings,
)
from streamlabel.learning.watching import Watch, through_deployment, to_file
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.thresholds import NEVER

LABELS = ["ham", "spam", "scam"]


def calibration(**changes: Any) -> CalibrationFile:  # noqa: ANN401 sections
    tree: dict[str, Any] = {
        "model": {
            "name": "m",
            "backend": "fake",
            "digest": "d" * 64,
            "device": "cpu",
            "dtype": "float32",
            "labels": LABELS,
            "problem_type": "single_label",
        },
        "mapping": {"method": "identity"},
        "thresholds": {
            "chosen_by": "promise",
            "by_label": {"ham": 0.8, "spam": 0.9, "scam": None},
            "target_error": 0.02,
            "bound": 0.02,
            "confidence": 0.95,
            "summary": "s",
        },
        "stricter": {"ham": [0.9, 0.95], "spam": [0.97]},
        "evidence": {
            "made_on": "2026-11-29",
            "items": 3,
            "by_label": {"ham": 3},
            "log_loss_before": 0.3,
            "log_loss_after": 0.2,
        },
    }
    return CalibrationFile.model_validate(tree | changes).with_id()


FILE = calibration()
TARGET = Target(0.02, 0.95, len(LABELS))


def verdict(number: int, *, right: bool = True, **changes: Any) -> VerdictMessage:  # noqa: ANN401
    fields: dict[str, Any] = {
        "schema": "streamlabel.verdict/v1",
        "review_id": f"r{number}",
        "id": str(number),
        "action": "confirm" if right else "correct",
        "labels": ["ham"] if right else ["spam"],
        "model_labels": ["ham"],
        "saw_model_answer": False,
        "reviewer": "a",
        "decided_at": "2026-11-29T10:00:00Z",
        "purpose": "audit",
        "reasons": ["audit"],
        "review_probability": 0.02,
        "deployment_id": "dep1",
        "calibration_id": FILE.id,
        "threshold_set_id": FILE.threshold_set_id,
    }
    return VerdictMessage.model_validate(fields | changes)


def standings(monitor: TargetMonitor) -> dict[str | None, Standing]:
    return {each.label: each for each in monitor.standings()}


def monitored(*verdicts: VerdictMessage) -> TargetMonitor:
    monitor = TargetMonitor({FILE.id: TARGET})
    for each in verdicts:
        monitor.saw(each)
    return monitor


@pytest.mark.parametrize(
    "changes",
    [
        {"reasons": ["low_confidence"], "purpose": "review"},
        {"purpose": "second_look", "look": 2},
        {"purpose": "gold"},
        {"purpose": "appeal"},
        {"model_labels": None},
    ],
)
def test_only_first_looks_at_drawn_accepted_records_count(changes: dict[str, Any]) -> None:
    assert not is_audit(verdict(1, **changes))
    assert standings(monitored(verdict(1, **changes))) == {}
    assert is_audit(verdict(1, purpose="review"))


def test_an_alarm_is_said_once_and_names_the_counts() -> None:
    monitor = TargetMonitor({FILE.id: TARGET})
    alarms = [a for i in range(400) for a in monitor.saw(verdict(i, right=i % 5 > 0))]
    assert [each.label for each in alarms] == [None, "ham"]
    assert alarms[0].evidence >= alarms[0].alarm_at == pytest.approx(1.301, abs=0.001)
    assert alarms[1].alarm_at == pytest.approx(1.778, abs=0.001)  # a third of the probability
    found = standings(monitor)
    assert (found[None].audits, found[None].wrong, found[None].has_alarm) == (400, 80, True)
    assert 0.2 < found[None].upper < 0.3


def test_a_series_begins_again_with_each_deployment_calibration_and_set_of_thresholds() -> None:
    old = [verdict(i, right=i % 5 > 0) for i in range(400)]
    new = [verdict(400 + i, threshold_set_id="stricter") for i in range(100)]
    found = [each for each in monitored(*old, *new).standings() if each.label is None]
    assert [(each.audits, each.has_alarm) for each in found] == [(400, True), (100, False)]
    for name in ("deployment_id", "calibration_id", "task"):
        monitor = TargetMonitor({FILE.id: TARGET, "other": TARGET})
        monitor.saw(verdict(1))
        changes: dict[str, Any] = {name: "other"}
        monitor.saw(verdict(2, **changes))
        assert len({each.watched for each in monitor.standings()}) == 2


def test_a_later_verdict_replaces_the_earlier_one_and_a_withdrawn_one_counts_no_more() -> None:
    monitor = monitored(verdict(0), verdict(1, right=False), verdict(2, right=False))
    assert standings(monitor)[None].wrong == 2
    monitor.saw(verdict(1))
    assert (standings(monitor)[None].audits, standings(monitor)[None].wrong) == (3, 1)
    monitor.withdraw("r2")
    assert (standings(monitor)[None].audits, standings(monitor)[None].wrong) == (2, 0)


def test_what_reviewers_leave_undecided_is_counted_apart() -> None:
    open_: dict[str, Any] = {"action": "unsure", "labels": None}
    found = standings(monitored(verdict(0), verdict(1, **open_), verdict(2, **open_)))
    assert (found[None].audits, found[None].undecided) == (1, 2)


def test_a_calibration_that_is_not_known_is_named_and_not_judged() -> None:
    monitor = monitored(verdict(0, calibration_id="gone"), verdict(1, calibration_id="gone"))
    assert monitor.unknown == {"gone": 2}
    assert standings(monitor) == {}


def test_a_step_takes_the_next_proven_threshold_and_after_the_last_one_all_is_reviewed() -> None:
    now = FILE.limits
    steps = []
    for _ in range(3):
        now = next_stricter(FILE, now)
        steps.append(now)
    assert steps == [
        {"ham": 0.9, "spam": 0.97, "scam": NEVER},
        {"ham": 0.95, "spam": NEVER, "scam": NEVER},
        {"ham": NEVER, "spam": NEVER, "scam": NEVER},
    ]


def test_a_label_takes_those_that_share_its_threshold_with_it() -> None:
    assert next_stricter(FILE, FILE.limits, ["ham"]) == FILE.limits | {"ham": 0.9}
    assert FILE.thresholds is not None
    thresholds = FILE.thresholds.model_copy(update={"pooled": [["ham", "spam"]]})
    pooled = FILE.model_copy(update={"thresholds": thresholds})
    assert next_stricter(pooled, FILE.limits, ["ham"]) == FILE.limits | {"ham": 0.9, "spam": 0.97}


def test_a_tightened_file_is_another_calibration_that_can_be_read(tmp_path: Path) -> None:
    made = tightened_file(FILE, next_stricter(FILE, FILE.limits))
    made.write(tmp_path / "c.yaml")
    found = CalibrationFile.read(tmp_path / "c.yaml")
    assert found.limits == {"ham": 0.9, "spam": 0.97, "scam": NEVER}
    assert found.id != FILE.id
    assert found.threshold_set_id != FILE.threshold_set_id
    assert Target.of(found) == TARGET


def service(tmp_path: Path, **sections: Any) -> Settings:  # noqa: ANN401 sections
    FILE.write(tmp_path / "c.yaml")
    routing = {"calibration": str(tmp_path / "c.yaml")}
    one = {"model": {"backend": "fake", "labels": LABELS}, "routing": routing}
    return Settings.model_validate(sections or one)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return service(tmp_path)


@pytest.fixture
def deployed(settings: Settings) -> list[Deployed]:
    return deployed_of(settings)


def test_thresholds_of_a_deployment_are_raised_and_never_called_loosened(
    settings: Settings,
) -> None:
    for _ in range(3):
        [deployed] = deployed_of(settings)
        settings = tightened_settings(settings, deployed, next_stricter(FILE, deployed.thresholds))
    [deployed] = deployed_of(settings)
    assert settings.routing.thresholds == {"ham": 1.0, "spam": 1.0}  # scam is reviewed anyway
    assert deployed.thresholds == {"ham": 1.0, "spam": 1.0, "scam": NEVER}
    assert deployed.threshold_set_id != FILE.threshold_set_id


def test_only_the_model_of_the_alarm_is_tightened(tmp_path: Path) -> None:
    FILE.write(tmp_path / "c.yaml")
    model = {"backend": "fake", "labels": LABELS}
    stage = {"model": model, "routing": {"calibration": str(tmp_path / "c.yaml")}}
    stages = [{"name": "fast", **stage}, {"name": "slow", **stage}]
    settings = service(tmp_path, tasks={"a": {"cascade": stages}, "b": {"model": model}})
    fast, slow = deployed_of(settings)
    assert (fast.settings.id, slow.settings.id) == ("a/fast", "a/slow")
    found = tightened_settings(settings, slow, next_stricter(FILE, slow.thresholds))
    cascade = found.tasks["a"].cascade
    assert cascade[0].routing.thresholds == {}
    assert cascade[1].routing.thresholds == {"ham": 0.9, "spam": 0.97}


async def watched(state: Watch, count: int, **changes: Any) -> None:  # noqa: ANN401 fields
    for i in range(count):
        each = verdict(i, right=i % 4 > 0, **changes)
        await state.saw(each.review_id, each)


async def test_an_alarm_writes_the_stricter_calibration_once(
    tmp_path: Path, deployed: list[Deployed]
) -> None:
    said: list[str] = []
    out = tmp_path / "tight.yaml"
    state = Watch(deployed, earlier=[], respond=to_file(out), say=said.append)
    await watched(state, 300)
    found = await asyncio.to_thread(CalibrationFile.read, out)
    assert found.limits["ham"] == 0.9  # and not two steps for two alarms
    assert state.alarms[0].startswith("accepted labels are wrong more often than 2.0 %: ")
    assert sum(line.startswith("tightened: ham 0.8000 -> 0.9000") for line in said) == 1


async def test_an_alarm_deploys_the_stricter_thresholds_and_goes_on_with_them(
    settings: Settings, deployed: list[Deployed]
) -> None:
    published: list[Settings] = []

    async def publish(settings: Settings) -> None:
        published.append(settings)

    respond = through_deployment(settings, publish)
    state = Watch(deployed, earlier=[], respond=respond, say=lambda _: None)
    await watched(state, 300)
    assert [each.routing.thresholds["ham"] for each in published] == [0.9]
    [now] = await asyncio.to_thread(deployed_of, published[0])
    await watched(state, 300, threshold_set_id=now.threshold_set_id, deployment_id="dep2")
    assert [each.routing.thresholds["ham"] for each in published] == [0.9, 0.95]


def test_without_a_target_error_there_is_nothing_to_monitor() -> None:
    settings = Settings.model_validate({"model": {"backend": "fake"}})
    with pytest.raises(ConfigError, match="no calibration with a target error"):
        Watch(deployed_of(settings), earlier=[], respond=None, say=lambda _: None)


def test_a_file_of_verdicts_is_read_and_other_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    lines = [
        verdict(1).encoded(),
        b'{"id": 1}',
        verdict(2).encoded(),
        verdict(1, right=False).encoded(),
    ]
    path.write_bytes(b"\r\n".join(lines) + b"\n\n")
    found = verdicts_of_file(path)
    assert list(found.verdicts) == ["r1", "r2"]
    assert found.verdicts["r1"].action == "correct"
    assert (found.unread, "review_id" in found.fault) == (1, True)
    path.write_text(json.dumps({"id": 1}))
    with pytest.raises(ConfigError, match=r"has no verdict .* review_id"):
        verdicts_of_file(path)


def test_metrics_show_the_present_state_by_label() -> None:
    monitor = monitored(*(verdict(i, right=i % 5 > 0) for i in range(400)))
    metrics = MonitorMetrics()
    metrics.show(monitor.standings())
    values = {
        (sample.name, sample.labels["label"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    assert values["streamlabel_promise_audits", ""] == 400
    assert values["streamlabel_promise_alarm", "ham"] == 1
    assert values["streamlabel_promise_evidence", ""] > 1.3
    assert 0.2 < values["streamlabel_promise_upper_bound", ""] < 0.3


def tags(**changes: Any) -> CalibrationFile:  # noqa: ANN401 sections
    """A multi-label calibration: guarantees for rude and spam, none for threat."""
    answers = {
        "absent": {"rude": 0.9, "threat": 1e-06, "spam": 0.7},
        "guarantees": {
            name: {"target_error": error, "accepted": 900, "wrong": 1}
            for name, error in (("rude", 0.02), ("spam", 0.05))
        },
        "stricter": [
            {
                "by_label": {"rude": 0.95, "threat": 1e-06, "spam": 0.9},
                "absent": {"rude": 0.95, "threat": 1e-06, "spam": 0.8},
            }
        ],
    }
    names = ["rude", "threat", "spam"]
    return calibration(
        model=FILE.model.model_dump() | {"labels": names, "problem_type": "multi_label"},
        thresholds={
            "chosen_by": "promise",
            "by_label": {"rude": 0.9, "threat": 1e-06, "spam": None},
            "bound": 0.02,
            "confidence": 0.95,
            "summary": "s",
        },
        stricter={},
        answers=answers | changes,
    )


TAGS = tags()


def tag_verdict(number: int, *, said: list[str], right: list[str]) -> VerdictMessage:
    return verdict(
        number,
        model_labels=said,
        labels=right,
        calibration_id=TAGS.id,
        threshold_set_id=TAGS.threshold_set_id,
    )


def test_the_answers_about_each_label_are_bet_on_with_its_own_target() -> None:
    target = Target.of(TAGS)
    assert target is not None
    monitor = TargetMonitor({TAGS.id: target})
    for number in range(101):  # the first one sets the scale, and is no bet
        said = ["rude"] if number % 10 else []
        monitor.saw(tag_verdict(number, said=said, right=["rude", "threat"]))
    found = standings(monitor)
    assert set(found) == {"rude", "spam"}  # threat has no guarantee, whole records neither
    assert (found["rude"].target, found["rude"].wrong, found["rude"].audits) == (0.02, 11, 101)
    assert (found["spam"].target, found["spam"].wrong) == (0.05, 0)
    assert found["rude"].alarm_at == pytest.approx(1.602, abs=0.001)  # half of the probability
    assert found["rude"].has_alarm
    assert not found["spam"].has_alarm


def test_an_alarm_about_an_answer_tightens_all_labels_one_step(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "tight.yaml"
    (tmp_path / "c.yaml").write_text("")
    TAGS.write(tmp_path / "c.yaml")
    settings = Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"calibration": str(tmp_path / "c.yaml")}}
    )
    watch = Watch(deployed_of(settings), earlier=[], respond=to_file(path), say=told.append)

    async def read() -> None:
        for number in range(60):
            await watch.saw(f"r{number}", tag_verdict(number, said=[], right=["rude"]))

    asyncio.run(read())
    found = CalibrationFile.read(path)
    assert found.limits == {"rude": 0.95, "threat": 1e-06, "spam": NEVER}
    assert found.absent_limits == {"rude": 0.95, "threat": 1e-06, "spam": 0.8}
    assert "answers about rude in accepted records are wrong more often than 2.0 %" in told[0]
    assert "not rude 0.9000 -> 0.9500" in told[1]
    assert "spam always review" not in told[1]
    assert Target.of(found) == Target.of(TAGS)


def test_after_the_last_step_every_record_goes_to_review() -> None:
    step = TAGS.answers.stricter[0] if TAGS.answers else None
    assert step is not None
    first = next_step(TAGS, TAGS.limits, TAGS.absent_limits)
    assert first[0] == {"rude": 0.95, "threat": 1e-06, "spam": NEVER}
    last = next_step(TAGS, *first)
    assert set(last[0].values()) == set(last[1].values()) == {NEVER}
    raised = {"rude": 0.97, "threat": 0.5, "spam": NEVER}  # by routing.threshold
    assert next_step(TAGS, raised, TAGS.absent_limits)[0] == raised
