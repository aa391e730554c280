"""The example of a cascade in two services, with the null model, on a real Kafka."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.chaos.processes import RUN, ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from testing.twins import IN_PARTS, on_topics, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS = 400


def small(kafka: Cluster, guarantee: str) -> dict[str, Any]:
    settings = on_topics(read(IN_PARTS), kafka)
    for each in settings["cascade"]:
        each["model"] = {"backend": "fake", "labels": ["neutral", "threat", "insult"]}
    # the null model says the same in both stages: only the margin is stricter in the first one
    settings["cascade"][0]["routing"] = {"threshold": 0.7, "margin": 0.8}
    settings["cascade"][1] |= {
        "routing": {"threshold": 0.7},
        "escalate": kafka.topic("escalate"),
    }
    return settings | {"delivery": {"guarantee": guarantee}}


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_every_record_comes_out_once_with_what_all_stages_said(
    guarantee: str, kafka: Cluster, tmp_path: Path
) -> None:
    settings = small(kafka, guarantee)
    texts, between = settings["input"]["topic"], settings["cascade"][1]["escalate"]
    kafka.produce(texts, [json.dumps({"text": f"text {n}"}).encode() for n in range(RECORDS)])
    config = tmp_path / "service.yaml"
    config.write_text(yaml.safe_dump(settings))
    own = ("--set", f"input.topic={between}", "--set", f"kafka.group_id={between}")
    output = settings["output"]

    def messages(kind: str) -> list[Any]:
        return [json.loads(m.value()) for m in kafka.read(output[f"{kind}_topic"])]

    def all_out() -> bool:
        for name in ("first", "second"):
            log = (tmp_path / f"{name}.log").read_text()
            assert "service_failed" not in log, log[-2000:]
        return len(messages("labels")) + len(messages("review")) >= RECORDS

    with ExitStack() as stack:
        services = [
            ServiceProcess(config, tmp_path / "first.log"),
            ServiceProcess(config, tmp_path / "second.log", command=(*RUN, *own)),
        ]
        for each in services:
            stack.callback(each.close)
        wait_until(all_out, what="all records are out", timeout_s=120, every_s=1)
        for each in services:
            each.terminate()
            assert each.wait() == 0
    found = [*messages("labels"), *messages("review")]
    assert sorted(m["id"] for m in found) == sorted(f"{texts}-0-{n}" for n in range(RECORDS))
    by_stage = {name: [m for m in found if m["stage"] == name] for name in ("encoder", "llm")}
    assert min(map(len, by_stage.values())) > 20
    assert len(kafka.read(between)) >= len(by_stage["llm"])
    for message in by_stage["llm"]:
        assert [each["stage"] for each in message["stages"]] == ["encoder", "llm"]
        assert message["source"]["topic"] == texts
    assert {m["route"] for m in by_stage["encoder"]} == {"label"}
    assert not kafka.read(output["dead_letter_topic"])
