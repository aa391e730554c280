"""A real encoder on Ray gives the records of the stream, bit for bit in float32.

What else is in a batch changes the last bits of what a matrix product rounds to, so bits are
compared with a text to a batch; with usual batches labels are equal, and probabilities nearly.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from streamlabel.api import load_settings
from streamlabel.ray import classify_files
from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from testing.minilm import save

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(400)]

# Of lengths from one word to more than the model reads at once.
TEXTS = [
    f"{n} " + " ".join(["slowly the river carried the old boat home"] * (n % 40)) for n in range(80)
]
# Of a run, not of the text: where it was, when and how long it took, and on what.
VARYING = {"source", "processed_at", "timings_ms"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small one on this machine, which reports nothing to anybody."""
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests beside it would starve them
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def by_id(values: list[bytes]) -> dict[str, dict[str, Any]]:
    records = (json.loads(value) for value in values)
    return {
        each["id"]: {name: value for name, value in each.items() if name not in VARYING}
        for each in records
    }


@pytest.mark.filterwarnings("ignore")  # Ray's own, about its own settings
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("batch_items", [1, 64])
def test_ray_gives_the_records_of_the_stream(
    batch_items: int, kafka: Cluster, tmp_path: Path
) -> None:
    texts, labels, review, dead = (
        kafka.topic(name) for name in ("texts", "labels", "review", "dead")
    )
    settings = {
        "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": texts},
        "input": {"topic": texts},
        "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
        "routing": {"threshold": 0.3},
        "model": {
            "backend": "encoder",
            "path": str(save(tmp_path / "minilm")),
            "device": "cpu",
            "dtype": "float32",
        },
        "batching": {"max_batch_items": batch_items},
        "http": {"enabled": False},
    }
    config = tmp_path / "service.yaml"
    config.write_text(yaml.safe_dump(settings))
    rows = [{"id": f"r{n}", "text": text} for n, text in enumerate(TEXTS)]
    kafka.produce(texts, [json.dumps(row).encode() for row in rows])
    service = ServiceProcess(config, tmp_path / "service.log")

    def streamed() -> list[bytes]:
        return [each.value() or b"" for topic in (labels, review) for each in kafka.read(topic)]

    def all_are_there() -> bool:
        assert service.is_running, service.log.read_text()[-2000:]
        return len(streamed()) >= len(TEXTS)

    try:
        wait_until(all_are_there, what=f"{len(TEXTS)} records", timeout_s=180, every_s=0.5)
    finally:
        service.close()
    for n in range(2):
        part = pa.Table.from_pylist(rows[n::2])
        parquet.write_table(part, tmp_path / f"{n}.parquet")
    out = tmp_path / "out"
    out.mkdir()
    files = [tmp_path / f"{n}.parquet" for n in range(2)]
    done = classify_files(load_settings(config), files, out, actors=1, output="jsonl")
    assert sum(each.labels + each.review for each in done) == len(TEXTS)
    found = by_id([line for path in out.iterdir() for line in path.read_bytes().splitlines()])
    expected = by_id(streamed())
    assert len({str(each["probabilities"]) for each in expected.values()}) > 20
    if batch_items == 1:
        assert found == expected
    for name, record in expected.items():
        probabilities = found[name].pop("probabilities")
        assert probabilities == pytest.approx(record.pop("probabilities"), abs=1e-6)
        assert found[name]["label"] == record["label"]
        assert found[name]["route"] == record["route"]
