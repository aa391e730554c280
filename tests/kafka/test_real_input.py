"""Real texts, a real encoder, a real Kafka: the service as users run it."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaException, Message, Producer

from testing import minilm
from testing.kafka_broker import Cluster, wait_until
from testing.texts import read
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(600)]

PARTITIONS = 4
LABELS = ("neither", "offensive", "hate")


def tweets() -> list[dict[str, str]]:
    try:
        return read("tweets_moderation", "dev")
    except SystemExit as error:
        missing(str(error))


@contextmanager
def running(config: dict[str, Any], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``streamlabel run``; at the end SIGTERM must drain it cleanly."""
    path = folder / "service.yaml"
    path.write_text(yaml.safe_dump(config))
    log = (folder / "service.log").open("wb")
    command = [sys.executable, "-m", "streamlabel", "run", "-c", str(path)]
    with subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
            process.terminate()
            assert process.wait(60) == 0, (folder / "service.log").read_text()[-2000:]
        finally:
            process.kill()
            log.close()


def test_every_tweet_comes_out_once_in_order_with_the_models_own_probabilities(
    kafka: Cluster, tmp_path: Path
) -> None:
    rows = tweets()
    model = minilm.save(tmp_path / "model", LABELS)
    names = ("texts", "labels", "review", "dead-letters")
    topics = {name: kafka.topic(name, partitions=PARTITIONS) for name in names}
    config = {
        "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": topics["texts"]},
        "input": {"topic": topics["texts"]},
        "output": {
            "labels_topic": topics["labels"],
            "review_topic": topics["review"],
            "dead_letter_topic": topics["dead-letters"],
        },
        "model": {"backend": "encoder", "path": str(model), "device": "cpu"},
        "routing": {"threshold": 0.5},
        "http": {"port": 0},
    }
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number, row in enumerate(rows):
        value = json.dumps({"id": row["id"], "text": row["text"]}).encode()
        headers: list[tuple[str, bytes]] = [("traceparent", f"00-{number:032x}-1-01".encode())]
        producer.produce(topics["texts"], value, key=f"user-{number % 97}", headers=headers)
    assert producer.flush(60) == 0

    with running(config, tmp_path):

        def all_committed() -> bool:
            topic = topics["texts"]
            try:
                offsets = [kafka.committed(topic, topic, n) or 0 for n in range(PARTITIONS)]
            except KafkaException:  # the group's coordinator is still being chosen
                return False
            return sum(offsets) == len(rows)

        wait_until(all_committed, what="all committed", timeout_s=300, every_s=1.0)

    labelled, reviewed = kafka.read(topics["labels"]), kafka.read(topics["review"])
    assert kafka.read(topics["dead-letters"]) == []
    assert labelled, "nothing was sure enough: the threshold does not split"
    assert reviewed, "everything was sure enough: the threshold does not split"

    # Exactly once over both topics.
    outputs = {m["id"]: m for m in map(_value, (*labelled, *reviewed))}
    assert len(labelled) + len(reviewed) == len(rows)
    assert outputs.keys() == {row["id"] for row in rows}

    for messages in (labelled, reviewed):
        _check_order(messages)
    _check_headers((*labelled, *reviewed), rows)

    # Every probability is that of plain transformers, without padding.
    worst = 0.0
    plain = _plain(model, [row["text"] for row in rows])
    for row, probabilities in zip(rows, plain, strict=True):
        ours = outputs[row["id"]]["probabilities"]
        worst = max(worst, *(abs(ours[label] - p) for label, p in probabilities.items()))
        assert outputs[row["id"]]["confidence"] == max(ours.values())
    assert worst <= 1e-4


def _value(message: Message) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(message.value() or b"")
    return value


def _check_order(messages: list[Message]) -> None:
    """Within a partition, and so within a key, outputs stand in input order."""
    last_of_partition: dict[int, int] = defaultdict(lambda: -1)
    partition_of_key: dict[bytes, int] = {}
    for message in messages:
        source = _value(message)["source"]
        partition = message.partition()
        assert partition == source["partition"]
        assert source["offset"] > last_of_partition[source["partition"]]
        last_of_partition[source["partition"]] = source["offset"]
        assert partition_of_key.setdefault(message.key() or b"", source["partition"]) == partition


def _check_headers(messages: tuple[Message, ...], rows: list[dict[str, str]]) -> None:
    number_of = {row["id"]: number for number, row in enumerate(rows)}
    for message in messages:
        number = number_of[_value(message)["id"]]
        assert message.key() == f"user-{number % 97}".encode()
        assert dict(message.headers() or [])["traceparent"] == f"00-{number:032x}-1-01".encode()


def _plain(model: Path, texts: list[str]) -> list[dict[str, float]]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    names = [network.config.id2label[i] for i in range(len(LABELS))]
    rows = tokenizer(texts, truncation=True, max_length=512)["input_ids"]
    same_length: dict[int, list[int]] = defaultdict(list)  # in tokens: none of them is padded
    for number, row in enumerate(rows):
        same_length[len(row)].append(number)
    found: dict[int, dict[str, float]] = {}
    with torch.inference_mode():
        for numbers in same_length.values():
            ids = torch.tensor([rows[number] for number in numbers])  # (B, T)
            probabilities = network(ids, torch.ones_like(ids)).logits.softmax(-1).tolist()
            for number, each in zip(numbers, probabilities, strict=True):
                found[number] = dict(zip(names, each, strict=True))
    return [found[number] for number in range(len(texts))]
