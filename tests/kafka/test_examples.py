"""Each worked example runs on a real Kafka, from its own file: nothing is missing, nothing doubled.

The null model stands for the encoders, which the demo fits: what is tested is how the parts fit.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from streamlabel.config.model import FakeSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.output.verdict import read_verdict
from streamlabel.demo.example_files import ExampleName, posts_of
from streamlabel.demo.example_run import run_example
from testing.kafka_broker import Cluster

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(700),
    pytest.mark.may_block(reason="a script reads its own files"),
]

POSTS = FakeSettings(labels=["ok", "spam", "scam", "harassment", "prohibited"])
TASKS = {
    "topic": FakeSettings(labels=["billing", "delivery", "account", "defect"]),
    "urgency": FakeSettings(labels=["calm", "urgent"]),
}


def with_null_models(settings: Settings) -> Settings:
    tasks = {
        name: task.model_copy(update={"model": TASKS[name]})
        for name, task in settings.tasks.items()
    }
    if tasks:
        return settings.model_copy(update={"tasks": tasks})
    routing = settings.routing
    if routing.calibration is not None:
        # a calibrated checksum is sure of nothing, and the audit needs what was accepted
        accepted = dict.fromkeys(POSTS.labels, 0.01)
        routing = routing.model_copy(update={"thresholds": accepted})
    return settings.model_copy(update={"model": POSTS, "routing": routing})


async def run(kafka: Cluster, name: ExampleName, folder: Path) -> tuple[list[str], list[str]]:
    """Return what is wrong, and what was printed. Topics have the names of the example's file."""

    async def open_topics(topics: Sequence[str]) -> Mapping[str, int]:
        await asyncio.to_thread(kafka.fresh, topics, partitions=2)
        return dict.fromkeys(topics, 2)

    said: list[str] = []
    problems = await run_example(
        name,
        bootstrap_servers=kafka.bootstrap,
        folder=folder,
        variables={"MODEL_DIR": "unused"},
        open_topics=open_topics,
        say=said.append,
        change=with_null_models,
        target_error=0.95,  # a checksum is wrong about four texts of five
    )
    return problems, said


async def test_moderation_labels_reviews_and_audits(kafka: Cluster, tmp_path: Path) -> None:
    problems, said = await run(kafka, "moderation", tmp_path)
    assert problems == []
    posts = posts_of("moderation")
    written = {
        topic: await asyncio.to_thread(kafka.read, topic)
        for topic in ("posts.labels", "posts.review", "posts.dead-letters")
    }
    reviews = [json.loads(each.value() or b"") for each in written["posts.review"]]
    own = [each for each in reviews if each["reasons"] != ["audit"]]
    assert len(written["posts.labels"]) + len(own) + 1 == len(posts)
    assert len(written["posts.dead-letters"]) == 1
    assert all(each["text"] for each in reviews)
    assert any("dead letter: 1" in line for line in said)


async def test_tagging_answers_two_questions_about_each_event(
    kafka: Cluster, tmp_path: Path
) -> None:
    problems, _ = await run(kafka, "tagging", tmp_path)
    assert problems == []
    outputs = [
        each
        for topic in ("tickets.tags", "tickets.review")
        for each in await asyncio.to_thread(kafka.read, topic)
    ]
    tasks = Counter(json.loads(each.value() or b"")["task"] for each in outputs)
    assert tasks == dict.fromkeys(("topic", "urgency"), len(posts_of("tagging")) - 1)
    headers = [dict(each.headers() or []) for each in outputs]
    assert {bytes(each["ce_source"]) for each in headers} == {b"/help-desk/tags"}
    assert len({bytes(each["ce_id"]) for each in headers}) >= len(posts_of("tagging")) - 1


async def test_the_review_queue_learns_from_its_verdicts(kafka: Cluster, tmp_path: Path) -> None:
    problems, said = await run(kafka, "review-queue", tmp_path)
    assert problems == []
    verdicts = [
        read_verdict(each.value() or b"")
        for each in await asyncio.to_thread(kafka.read, "stories.verdicts")
    ]
    assert len({each.id for each in verdicts}) == len(posts_of("review-queue"))
    assert {each.action for each in verdicts} == {"confirm", "correct"}
    assert (tmp_path / "review-queue" / "learned.yaml").is_file()
    assert any("reviews were decided" in line for line in said)
