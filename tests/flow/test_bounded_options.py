"""The options of a bounded run: what is refused, and which group and topics it gets."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.commands.bounded import bounded_settings, print_summary, range_of
from streamlabel.consumer.bounded_run import Counted, Summary
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.errors import ConfigError

UNTIL = ["--until", "now"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a service."""
    path = tmp_path / "streamlabel.yaml"
    path.write_text("model: {backend: fake}\nkafka: {group_id: live}\n")
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--from", "yesterday"], "--from: write a time with its zone, 2026-11-01T00:00Z, or"),
        (["--until", "2026-11-01T00:00"], "--until: write a time with its zone"),
        (["--from", "9999-01-01T00:00Z"], "--from: 9999-01-01T00:00Z is in the future"),
        (
            ["--from", "2026-01-02T00:00Z", "--until", "2026-01-02T01:00+01:00"],
            "is not after --from",
        ),
        (["--group", "past"], "only with --from or --until"),
        (["--json"], "only with --from or --until"),
        (UNTIL, "--group: a bounded run in the group live, which the configuration names"),
        ([*UNTIL, "--group", "live"], "or --same-group if this is meant"),
        ([*UNTIL, "--same-group"], "output.labels_topic would be labels.live; add --same-topics"),
        ([*UNTIL, "--same-group", "--group", "past"], "give one of the two"),
        ([*UNTIL, "--group", "a b"], "output.labels_topic: must look like"),
        (
            [*UNTIL, "--group", "past", "--set", "output.labels_topic=texts"],
            "output.labels_topic: 'texts' is also input.topic",
        ),
    ],
)
def test_a_run_that_is_not_meant_like_this_is_refused(
    config: Path, options: list[str], says: str
) -> None:
    result = CliRunner().invoke(app, ["run", "-c", str(config), *options])
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert says in said


@pytest.mark.parametrize(
    ("overrides", "more", "group", "topics"),
    [
        ([], {"group": "past"}, "past", "labels.past review.past dead-letters.past"),
        (["kafka.group_id=past"], {}, "past", "labels.past review.past dead-letters.past"),
        (
            ["output.labels_topic=elsewhere"],
            {"group": "past"},
            "past",
            "elsewhere review.past dead-letters.past",
        ),
        ([], {"group": "past", "same_topics": True}, "past", "labels review dead-letters"),
        ([], {"same_group": True, "same_topics": True}, "live", "labels review dead-letters"),
    ],
)
def test_it_gets_a_group_and_topics_of_its_own_unless_told_otherwise(
    config: Path, overrides: list[str], more: dict[str, str | bool], group: str, topics: str
) -> None:
    options = {"group": None, "same_group": False, "same_topics": False, **more}
    settings = bounded_settings(config, overrides, **options)  # type: ignore[arg-type]  # of three
    output = settings.output
    assert settings.kafka.group_id == group
    names = (output.labels_topic, output.review_topic, output.dead_letter_topic)
    assert " ".join(names) == topics


@pytest.mark.parametrize(
    ("overrides", "passed_on"),
    [
        ([], "escalate.past"),
        (["input.topic=escalate"], None),  # the later service: it is the input
        (["tasks.moderation.cascade.1.escalate=elsewhere"], "elsewhere"),
    ],
)
def test_what_a_cascade_passes_on_does_not_reach_the_live_service(
    tmp_path: Path, overrides: list[str], passed_on: str | None
) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(
        "kafka: {group_id: live}\n"
        "tasks:\n"
        "  topic: {model: {backend: fake}}\n"
        "  moderation:\n"
        "    cascade:\n"
        "      - {name: fast, model: {backend: fake}}\n"
        "      - {name: slow, model: {backend: fake}, escalate: escalate}\n"
    )
    settings = bounded_settings(path, overrides, group="past", same_group=False, same_topics=False)
    assert set(settings.escalation_topics.values()) == ({passed_on} if passed_on else set())
    assert "labels.past" in settings.output_topics


def test_a_configuration_that_is_whole_only_with_flags_still_names_the_service() -> None:
    with pytest.raises(ConfigError, match="in the group streamlabel"):
        bounded_settings(
            None, ["model.backend=fake"], group=None, same_group=False, same_topics=False
        )


def test_times_are_those_of_their_zone() -> None:
    found = range_of("2026-01-02T01:00+01:00", "2026-01-02T02:00Z", same_group=False)
    assert (found.since_ms, found.until_ms) == (1_767_312_000_000, 1_767_319_200_000)
    assert range_of("oldest", "now", same_group=True).name == "oldest..now"


SUMMARY = Summary(
    is_complete=True,
    seconds=12.34,
    partitions={
        TopicPartition("texts", 0): Counter[Counted]({"read": 5, "labels": 4, "review": 1}),
        TopicPartition("texts", 1): Counter[Counted]({"read": 2, "labels": 1, "dead_letters": 1}),
    },
)


def test_the_summary_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(SUMMARY, as_json=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["PARTITION", "READ", "LABELS", "REVIEW", "DEAD", "LETTERS"],
        ["texts-0", "5", "4", "1", "0"],
        ["texts-1", "2", "1", "0", "1"],
        ["all", "7", "5", "1", "1"],
        ["12.3", "s,", "complete"],
    ]


def test_the_summary_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(SUMMARY, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "complete": True,
        "seconds": 12.3,
        "read": 7,
        "labels": 5,
        "review": 1,
        "dead_letters": 1,
        "partitions": {
            "texts-0": {"read": 5, "labels": 4, "review": 1, "dead_letters": 0},
            "texts-1": {"read": 2, "labels": 1, "review": 0, "dead_letters": 1},
        },
    }


def test_the_topics_of_tasks_are_those_of_the_run_too(tmp_path: Path) -> None:
    path = tmp_path / "streamlabel.yaml"
    path.write_text(
        "kafka: {group_id: live}\n"
        "tasks:\n"
        "  a: {model: {backend: fake}, output: {labels_topic: topics}}\n"
        "  b: {model: {backend: fake}}\n"
    )
    settings = bounded_settings(path, None, group="past", same_group=False, same_topics=False)
    assert settings.output_topics == (
        "topics.past",
        "labels.past",
        "review.past",
        "dead-letters.past",
    )
