"""``streamlabel deploy``: all members swap, refuse or catch up, on a real Kafka."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

KEY = "a secret of the test group"
FAKE: dict[str, Any] = {"backend": "fake", "labels": ["a", "b"], "batch_s": 0.02}


class Group:
    """Members of one group, and deployments for them."""

    def __init__(self, kafka: Cluster, folder: Path, guarantee: str, stack: ExitStack) -> None:
        self.kafka = kafka
        self.folder = folder
        self.texts = kafka.topic("texts", partitions=4)
        self.labels, self.review, self.dead = (
            kafka.topic(name, partitions=2) for name in ("labels", "review", "dead")
        )
        self.control = f"{self.texts}-control"  # `deploy`, or the first member, creates it
        self.members: list[ServiceProcess] = []
        self.sent = 0
        self._guarantee = guarantee
        self._stack = stack

    def config(self, name: str, **sections: Any) -> Path:  # noqa: ANN401 of the settings
        """Write a configuration file; sections are over those of every test."""
        path = self.folder / f"{name}.yaml"
        settings = {
            "kafka": {
                "bootstrap_servers": self.kafka.bootstrap,
                "group_id": self.texts,
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 1000,
                "create_topics": True,
            },
            "input": {"topic": self.texts},
            "output": {
                "labels_topic": self.labels,
                "review_topic": self.review,
                "dead_letter_topic": self.dead,
            },
            "control": {"topic": self.control, "key": KEY},
            "delivery": {"guarantee": self._guarantee},
            "routing": {"threshold": 0.01},
            "model": FAKE,
            "guard": {"max_consecutive": 0, "max_ratio": 1},
            "http": {"enabled": False},
            "logging": {"format": "json"},
            **sections,
        }
        path.write_text(yaml.safe_dump(settings))
        return path

    def start(self) -> ServiceProcess:
        """Start a member; return when it has partitions."""
        number = len(self.members)
        member = ServiceProcess(self.config("member"), self.folder / f"member{number}.log")
        self._stack.callback(member.close)
        self.members.append(member)
        wait_until(lambda: bool(member.owned()), what="it has partitions", timeout_s=90)
        return member

    def send(self, count: int = 200) -> None:
        """Write texts to all partitions."""
        for partition in range(4):
            values = [
                json.dumps({"text": f"text {self.sent + n}"}).encode() for n in range(count // 4)
            ]
            self.kafka.produce(self.texts, values, partition=partition)
            self.sent += count // 4

    def deploy(self, *options: str, **sections: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        """Run the command on a configuration with these sections."""
        config = self.config("new", **sections)
        return subprocess.run(
            [sys.executable, "-m", "streamlabel", "deploy", "-c", str(config), *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )

    def wait_until_committed(self) -> None:
        """Wait until the group has committed everything."""

        def lag() -> int:
            found = self.kafka.group_offsets(self.texts, self.texts, range(4))
            ends = self.kafka.ends(self.texts)
            return sum(ends[number] - (offset or 0) for number, offset in found.items())

        wait_until(lambda: lag() == 0, what="all is committed", timeout_s=90, every_s=0.3)

    def probabilities(self) -> list[list[str]]:
        """The labels of the model behind each output, after everything was delivered."""
        self.wait_until_committed()
        messages = [json.loads(message.value()) for message in self.kafka.read(self.labels)]
        places = [(m["source"]["partition"], m["source"]["offset"]) for m in messages]
        assert len(places) == len(set(places)) == self.sent, "nothing is lost or doubled"
        return [sorted(message["probabilities"]) for message in messages]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends the members."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_all_members_follow_a_deployment_and_a_later_member_catches_up(
    guarantee: str, kafka: Cluster, tmp_path: Path, stack: ExitStack
) -> None:
    group = Group(kafka, tmp_path, guarantee, stack)
    group.start()
    group.start()
    wait_until(lambda: len(group.members[0].owned()) == 2, what="they share", timeout_s=60)
    group.send()
    # a stranger, and a message that was cut, change nothing
    for value in (b'{"schema": "streamlabel.deployment/v1", "id": "x"}', b'{"schema'):
        kafka.produce(group.control, [value], key=b"stranger")
    done = group.deploy("--wait", "90", model={**FAKE, "labels": ["c", "d"]})
    assert done.returncode == 0, done.stderr
    assert "active on 2 members" in done.stderr
    group.send()
    refused = group.deploy("--wait", "60", "--digest", "model=beef", model=FAKE)
    assert refused.returncode == 2, refused.stderr
    assert "the digest of the model is" in refused.stderr
    group.send()
    assert {tuple(each) for each in group.probabilities()} == {("a", "b"), ("c", "d")}
    for member in group.members:
        assert member.said("control_message_refused") == 2

    back = group.deploy("--wait", "90", "--rollback", model=FAKE)
    assert back.returncode == 0, back.stderr
    again = group.deploy("--wait", "90", model={**FAKE, "labels": ["e", "f"]})
    assert again.returncode == 0, again.stderr
    for member in group.members:
        member.terminate()
        assert member.wait() == 0, member.log.read_text()[-2000:]
    late = group.start()  # its own configuration says a and b
    before = len(group.probabilities())
    group.send()
    assert {tuple(each) for each in group.probabilities()[before:]} <= {("e", "f"), ("c", "d")}
    assert late.said("deployment_ordered") == 1
    assert sum(each == ["e", "f"] for each in group.probabilities()) == 200


def test_a_canary_that_is_worse_is_refused(
    kafka: Cluster, tmp_path: Path, stack: ExitStack
) -> None:
    group = Group(kafka, tmp_path, "at_least_once", stack)
    group.start()
    deploying = subprocess.Popen(
        [
            sys.executable, "-m", "streamlabel", "deploy", "--canary", "0.5",
            "--canary-records", "50", "--wait", "90",
            "-c", str(group.config("new", model={**FAKE, "labels": ["c", "d"]})),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    while deploying.poll() is None:
        group.send(40)
    _, said = deploying.communicate()
    assert deploying.returncode == 2, said
    assert "the canary is worse: its labels differ" in said
    before = group.sent
    group.send()
    found = group.probabilities()
    assert found.count(["c", "d"]) >= 50, "it had its share"
    assert before + 200 == len(found)


def test_without_a_control_topic_there_is_nothing_to_deploy_on(
    kafka: Cluster, tmp_path: Path, stack: ExitStack
) -> None:
    group = Group(kafka, tmp_path, "at_least_once", stack)
    done = group.deploy(control={})
    assert done.returncode == 2
    assert "control.topic: set it, and control.key" in done.stderr
    keyless = group.deploy(control={"topic": group.control})
    assert keyless.returncode == 2
    assert "control.key: required with topic" in keyless.stderr
    several = kafka.topic("control", partitions=3)
    wrong = group.deploy(control={"topic": several, "key": KEY})
    assert wrong.returncode == 2
    assert "has 3 partitions, and must have one" in wrong.stderr
