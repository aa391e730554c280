"""The example configurations with small models on a CPU in place of those that they name.

A twin changes where the model is and how large the engine is, and nothing of what it is for: task,
long texts, batching, routing and topics stay as the example has them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from testing.kafka_broker import Cluster

__all__ = ["EXAMPLES", "IN_PARTS", "SEVERAL", "on_topics", "read", "twin", "twin_of_several"]

FOLDER = Path(__file__).parents[1] / "config" / "examples"
# With several models; all others have one.
SEVERAL = ("cascade-cpu", "tasks-cpu")
# For several services: tests/kafka/test_escalation.py
IN_PARTS = "cascade-two-services"
EXAMPLES = tuple(sorted({path.stem for path in FOLDER.glob("*.yaml")} - {*SEVERAL, IN_PARTS}))

# Of an engine that shares two cores with everything else.
_SMALL_ENGINE = {
    "max_tokens": 1000,
    "max_num_batched_tokens": 2048,
    "max_num_seqs": 32,
    "kv_cache_gib": 1,
    "enforce_eager": True,
}


def read(name: str) -> dict[str, Any]:
    """Return an example as it is in the file."""
    settings: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return settings


def twin(name: str, place: str | Path) -> dict[str, Any]:
    """Return the small twin of an example.

    Args:
        name: of the example, without ``.yaml``.
        place: folder of the small model; for a remote one, the endpoint's URL.
    """
    settings = read(name)
    _make_small(settings["model"], place)
    if "shadow" in settings:
        _make_small(settings["shadow"]["model"], place)
    return settings


def twin_of_several(name: str, places: Mapping[str, Path]) -> dict[str, Any]:
    """Return the small twin of an example with several models.

    Args:
        name: of the example, without ``.yaml``.
        places: folder of the small model of each back end.
    """
    settings = read(name)
    for section in [*settings.get("cascade", []), *settings.get("tasks", {}).values()]:
        _make_small(section["model"], places[section["model"]["backend"]])
    return settings


def _make_small(model: dict[str, Any], place: str | Path) -> None:
    if model["backend"] == "remote":
        model["base_url"] = str(place)
        return
    model |= {"path": str(place), "device": "cpu", "dtype": "float32"}
    if model["backend"] == "vllm":
        small = dict(_SMALL_ENGINE)
        if model.get("mode") == "encoder":
            del small["max_tokens"]
        model |= small
    else:
        model["threads"] = 1


def _tasks_on_topics(settings: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    tasks = {
        name: task
        | {"output": {each: cluster.topic(t) for each, t in task.get("output", {}).items()}}
        for name, task in settings.get("tasks", {}).items()
    }
    return {"tasks": tasks} if tasks else {}


def _beside_on_topics(settings: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Return the sections of a shadow and of deployments."""
    found: dict[str, Any] = {}
    if "shadow" in settings:
        found["shadow"] = settings["shadow"] | {"topic": cluster.topic("shadow")}
    if "control" in settings:
        topic = cluster.topic("control", cleanup_policy="compact")
        found["control"] = {"topic": topic, "key": "0123456789abcdef"}
    return found


def on_topics(settings: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Return the settings on topics of a test's own, HTTP left off."""
    output = {
        name: cluster.topic(value) if name.endswith("_topic") else value
        for name, value in settings["output"].items()
    }
    given = settings["input"]
    weighted = [each | {"name": cluster.topic(each["name"])} for each in given.get("topics", [])]
    first = weighted[0]["name"] if weighted else cluster.topic(given["topic"])
    kafka = {name: value for name, value in settings["kafka"].items() if name != "security"}
    place = {"bootstrap_servers": cluster.bootstrap, "group_id": first}
    return settings | {
        "kafka": kafka | place,
        "input": given | ({"topics": weighted} if weighted else {"topic": first}),
        "output": output,
        **_tasks_on_topics(settings, cluster),
        **_beside_on_topics(settings, cluster),
        "http": {"enabled": False},
        "logging": {"format": "json"},
    }
