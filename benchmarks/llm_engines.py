"""A real language model on two engines, and in the service."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.kafka_to_kafka import measure, service, warm_up
from testing import texts
from testing.engine_agreement import classified
from testing.kafka_broker import Cluster

__all__ = ["parity", "service_over_engine"]

Result = tuple[dict[str, float], str, Mapping[str, Any]]

TASK: Mapping[str, Any] = {
    "name": "spam",
    "instruction": "Decide whether the text message is spam.",
    "answer_with": "letters",
    "labels": [
        {"name": "ham", "definition": "people writing to people"},
        {"name": "spam", "definition": "advertising, fraud, prizes"},
    ],
}
_ENGINE: Mapping[str, Any] = {
    "backend": "vllm",
    "device": "cpu",
    "dtype": "float32",
    "max_tokens": 1024,
    "block_size": 32,
    "kv_cache_gib": 1,
    "enforce_eager": True,
}


def _config(model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap_servers": "localhost:9092", "group_id": "benchmark"},
        "model": {"task": dict(TASK), **model},
        "routing": {"threshold": 0.5},
    }


def parity(model: Path, count: int) -> Result:
    """Return how far apart the probabilities of the labels are on transformers and vLLM."""
    rows = [{"text": row["text"]} for row in texts.read("sms_spam", "dev")[:count]]
    engines = {
        "transformers": {
            "backend": "generative", "device": "cpu", "dtype": "float32", "max_tokens": 1024,
            "threads": 1,
        },
        "vllm": _ENGINE,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        answers = {
            name: classified(_config({"path": str(model), **given}), rows, Path(scratch), name)
            for name, given in engines.items()
        }
    pairs = list(zip(answers["transformers"], answers["vllm"], strict=True))
    moved = max(
        abs(one["probabilities"][label] - other["probabilities"][label])
        for one, other in pairs
        for label in one["probabilities"]
    )
    mass = max(abs(one["off_label_mass"] - other["off_label_mass"]) for one, other in pairs)
    same = sum(one["label"] == other["label"] for one, other in pairs) / len(pairs)
    page = (
        f"## Agreement\n\n{len(rows)} texts of sms_spam, one-token answers from the command line on"
        f" transformers and on vLLM: no probability differs by more than {moved:.1e}, no off-label"
        f" mass by more than {mass:.1e}; the same label for {same:.2%}.\n"
    )
    figures = {"parity_max_difference": moved, "parity_max_mass_difference": mass}
    return figures | {"parity_same_labels": same}, page, {"texts": len(rows)}


def service_over_engine(model: Path, rounds: int, count: int = 400) -> Result:
    """Return the service's texts/s, Kafka to Kafka, over those of the engine with all prompts."""
    messages = [row["text"] for row in texts.read("sms_spam", "dev")[:count]]
    settings = {**_ENGINE, "path": str(model.resolve()), "task": dict(TASK)}
    engine: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(rounds):
                engine.append(_alone(settings, count))
                contender = service(cluster, Path(scratch), f"llm{number}", {"model": settings})
                ours.append(measure(cluster, contender, messages).texts_per_s)
        finally:
            cluster.close()
    ratio = statistics.median(ours) / statistics.median(engine)
    page = (
        f"## Service\n\n{count} texts of sms_spam, medians of {rounds} interleaved rounds: the"
        f" engine alone {statistics.median(engine):.2f} texts/s, the service, Kafka to Kafka,"
        f" {statistics.median(ours):.2f} texts/s: {ratio:.3f} (`service_over_engine`).\n"
    )
    return {"service_over_engine": ratio}, page, {"engine": engine, "service": ours}


def _alone(settings: Mapping[str, Any], count: int) -> float:
    given = {name: value for name, value in settings.items() if name != "backend"}
    asked = json.dumps({"settings": given, "texts": count})
    command: Sequence[str] = (sys.executable, "-m", "benchmarks.vllm_alone", asked)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return float(json.loads(done.stdout.splitlines()[-1])["own"]["texts_per_s"])
