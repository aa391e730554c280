"""What swaps of models cost under load: one part of ``benchmarks.plans``.

``streamlabel run`` on a real Kafka gets texts at a steady rate, and every few seconds SIGHUP with
another model; the model is a null model that takes 0.2 s for a batch. From the outputs: records
lost and doubled, outputs whose labels are not those of the deployment that they name, the longest
time without an output (by the broker's timestamps), and the memory of the service process.
"""

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml
from confluent_kafka import Producer

from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until

__all__ = ["swaps"]

_BATCH_S = 0.2
_RATE_S = 300.0
_PARTITIONS = 4
_GUARANTEES = ("at_least_once", "exactly_once")
# Memory is compared with that after so many swaps: the first ones import and allocate.
_WARM_SWAPS = 5


def swaps(count: int) -> tuple[dict[str, float], str, dict[str, Any]]:
    """Return figures, a page and the run of each guarantee; ``count`` swaps in each."""
    cluster = Cluster.open()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            runs = {each: _run(cluster, Path(scratch), each, count) for each in _GUARANTEES}
    finally:
        cluster.close()
    limit_s = _BATCH_S + 1
    figures = {
        "swaps_lost": float(sum(run["lost"] for run in runs.values())),
        "swaps_doubled": float(sum(run["doubled"] for run in runs.values())),
        "swaps_mixed_batches": float(sum(run["mixed"] for run in runs.values())),
        "swap_pause_over_batch": max(run["pause_s"] for run in runs.values()) / limit_s,
        "swap_memory_growth": max(run["memory_growth"] for run in runs.values()),
    }
    rows = "".join(
        f"| {name} | {run['records']} | {run['swaps']} | {run['lost']} | {run['doubled']} |"
        f" {run['mixed']} | {run['pause_s']:.2f} | {run['memory_growth']:+.1%} |\n"
        for name, run in runs.items()
    )
    page = (
        f"## Swaps\n\n{count} swaps by SIGHUP under {_RATE_S:g} texts/s; a batch takes {_BATCH_S:g}"
        f" s. The longest time without an output may be {limit_s:g} s. Memory is that of the"
        f" service process, after the last swap over after swap {_WARM_SWAPS}.\n\n"
        "| guarantee | records | swaps | lost | doubled | labels of another deployment |"
        " longest time without an output, s | memory |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n" + rows
    )
    return figures, page, runs


def _run(cluster: Cluster, folder: Path, guarantee: str, count: int) -> dict[str, Any]:
    texts = cluster.topic("texts", partitions=_PARTITIONS)
    labels = cluster.topic("labels", partitions=2, message_timestamp_type="LogAppendTime")
    review, dead = cluster.topic("review"), cluster.topic("dead")
    config = folder / f"{texts}.yaml"

    def write(number: int) -> None:
        settings = {
            "kafka": {"bootstrap_servers": cluster.bootstrap, "group_id": texts},
            "input": {"topic": texts},
            "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
            "model": {
                "backend": "fake",
                "labels": [f"{letter}{number}" for letter in "ab"],
                "batch_s": _BATCH_S,
            },
            "routing": {"threshold": 0.01},
            "repeats": {"max_items": 0},
            "delivery": {"guarantee": guarantee},
            "http": {"enabled": False},
            "logging": {"format": "json"},
        }
        config.write_text(yaml.safe_dump(settings))

    write(0)
    service = ServiceProcess(config, folder / f"{texts}.log")
    memory: list[int] = []
    try:
        with _load(cluster, texts) as sent:
            wait_until(lambda: bool(service.owned()), what="it has partitions", timeout_s=90)
            for number in range(1, count + 1):
                write(number)
                os.kill(service.pid, signal.SIGHUP)
                wait_until(
                    lambda number=number: service.said("deployment_active") == number,  # type: ignore[misc]
                    what="the swap is done",
                    timeout_s=60,
                )
                memory.append(psutil.Process(service.pid).memory_info().rss)
        total = sum(sent)

        def committed() -> bool:
            found = cluster.group_offsets(texts, texts, range(_PARTITIONS))
            ends = cluster.ends(texts)
            return all(found[number] == end for number, end in ends.items())

        wait_until(committed, what="all is committed", timeout_s=120, every_s=0.5)
        service.terminate()
        service.wait()
    finally:
        service.close()
    messages = cluster.read(labels)
    values = [json.loads(message.value()) for message in messages]
    places = [(each["source"]["partition"], each["source"]["offset"]) for each in values]
    of_deployment: dict[str, set[str]] = {}
    for each in values:
        kept = of_deployment.setdefault(each["model"]["deployment_id"], set())
        kept.add(",".join(sorted(each["probabilities"])))
    written_ms = sorted(message.timestamp()[1] for message in messages)
    pauses = [after - before for before, after in pairwise(written_ms)]
    return {
        "records": total,
        "swaps": len(memory),
        "lost": total - len(set(places)),
        "doubled": len(places) - len(set(places)),
        "mixed": sum(len(kept) - 1 for kept in of_deployment.values()),
        "deployments": len(of_deployment),
        "pause_s": max(pauses) / 1000,
        "memory_growth": memory[-1] / memory[min(_WARM_SWAPS, len(memory)) - 1] - 1,
    }


@contextmanager
def _load(cluster: Cluster, topic: str) -> Iterator[list[int]]:
    """Write texts at the rate until the end; the list has how many were written."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "log_level": 0})
    stop, sent = threading.Event(), [0]

    def write() -> None:
        began_s = time.monotonic()
        while not stop.is_set():
            due = int((time.monotonic() - began_s) * _RATE_S) - sent[0]
            for _ in range(due):
                text = json.dumps({"text": f"text {sent[0]}"}).encode()
                producer.produce(topic, text, partition=sent[0] % _PARTITIONS)
                sent[0] += 1
            producer.poll(0)
            time.sleep(0.01)
        producer.flush(60)

    writer = threading.Thread(target=write, name="load")
    writer.start()
    try:
        yield sent
    finally:
        stop.set()
        writer.join()
