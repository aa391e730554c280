"""A rolling restart from an earlier version to this one, in one group, at both guarantees.

The earlier version comes from this repository's history; it runs in this environment, because the
versions of libraries have not changed since.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from testing.kafka_broker import Cluster, wait_until
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
# Before the live page, traces of jobs and the console: the last commit of the features before.
EARLIER = "926f51a03abeaffe72c9989cb21ab4673f2c614a"
PARTITIONS = 4
EACH = 400


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree of the earlier version."""
    folders = ("streamlabel", "consumer", "models", "config")
    done = subprocess.run(
        ["git", "archive", EARLIER, *folders], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode:
        missing(f"the history of this repository back to {EARLIER[:10]}: git fetch --unshallow")
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextmanager
def member(tree: Path, config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service of a source tree; it drains at the end."""
    command = ("env", f"PYTHONPATH={tree}", sys.executable, "-P", "-m", "streamlabel", "run")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-c", str(config)], stdout=output, stderr=output, cwd=config.parent
        )
        try:
            yield process
        finally:
            process.terminate()
            code = process.wait(60)
    assert code == 0, log.read_text()[-2000:]


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_nothing_is_lost_or_doubled_while_two_versions_are_in_one_group(
    kafka: Cluster, earlier: Path, tmp_path: Path, guarantee: str
) -> None:
    texts, labels, review, dead = (
        kafka.topic(name, partitions=PARTITIONS) for name in ("up-in", "labels", "review", "dead")
    )
    config = tmp_path / "streamlabel.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": texts},
                "input": {"topic": texts},
                "output": {
                    "labels_topic": labels,
                    "review_topic": review,
                    "dead_letter_topic": dead,
                },
                "model": {"backend": "fake", "batch_s": 0.01},
                "routing": {"threshold": 0.01},
                "delivery": {"guarantee": guarantee},
                "http": {"enabled": False},
            }
        )
    )
    sent = 0

    def send() -> None:
        nonlocal sent
        for partition in range(PARTITIONS):
            values = [json.dumps({"text": f"{sent + n}"}).encode() for n in range(EACH)]
            kafka.produce(texts, values, partition=partition)
        sent += EACH

    def has_joined(log: Path) -> bool:
        return "partitions_assigned" in log.read_text()

    old, new = tmp_path / "old.log", tmp_path / "new.log"
    with member(earlier, config, old):
        wait_until(lambda: has_joined(old), what="the earlier version has joined", timeout_s=120)
        send()
        with member(ROOT, config, new):
            wait_until(lambda: has_joined(new), what="this version has joined", timeout_s=120)
            send()  # both are members now
        # this version has left, as in a roll-back
        send()
        last = tmp_path / "last.log"
        replaced = member(ROOT, config, last)
        with replaced:
            wait_until(lambda: has_joined(last), what="it has joined again", timeout_s=120)
            send()
            wait_until(
                lambda: committed(kafka, texts) == PARTITIONS * sent,
                what="all is committed",
                timeout_s=120,
            )
    places = [
        (source["partition"], source["offset"])
        for source in (json.loads(each.value() or b"")["source"] for each in kafka.read(labels))
    ]
    assert sorted(places) == [(p, n) for p in range(PARTITIONS) for n in range(sent)]


def committed(kafka: Cluster, topic: str) -> int:
    offsets = kafka.group_offsets(topic, topic, range(PARTITIONS))
    return sum(offset or 0 for offset in offsets.values())
