"""The contract of a configured service as AsyncAPI 3: its channels, messages and bindings. Pure.

``scripts/generate`` writes that of the defaults below a source tree, given as the argument.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.tools.async_api_messages import BINDING, messages_of, schemas_of

__all__ = ["as_yaml", "document", "files"]


def document(settings: Settings) -> dict[str, Any]:
    """Return the document, to be written as YAML or JSON.

    Args:
        settings: of the service. Secrets are not in the document.
    """
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for number, (title, each) in enumerate(settings.input.each):
        topic = settings.input.topics[number].name if settings.input.topics else each.topic
        name = f"input{number}"
        about = "Texts." if title in {"", topic} else f"Texts: {title}."
        channels[name] = _channel(topic, about, [f"text{number}"])
        operations[f"read{number}"] = _operation("receive", name)
    for name, action, about, topics, kinds in _others(settings):
        for number, topic in enumerate(topics):
            channel = f"{name}{number}" if len(topics) > 1 else name
            channels[channel] = _channel(topic, about, kinds)
            operations[f"{action}_{channel}"] = _operation(action, channel)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"streamlabel {settings.kafka.group_id}",
            "version": __version__,
            "description": "Reads texts, classifies them, and writes labels, reviews and dead"
            " letters.",
        },
        "servers": _servers(settings),
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages_of(settings), "schemas": schemas_of(settings)},
    }


def as_yaml(settings: Settings) -> str:
    """Return the document as YAML."""
    found = document(settings)
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100)


def files() -> dict[str, str]:
    """Return the generated file, by its path in the tree."""
    defaults = Settings.model_validate({"model": {"backend": "fake"}})
    return {"docs/schemas/asyncapi.yaml": as_yaml(defaults)}


def _others(settings: Settings) -> list[tuple[str, str, str, tuple[str, ...], list[str]]]:
    """Return name, action, description, topics and messages of what is no input."""
    output = settings.output
    shadow, appeals, control = settings.shadow, settings.console.appeals_topic, settings.control
    found: list[tuple[str, str, str, tuple[str | None, ...], list[str]]] = [
        ("labels", "send", "Results.", settings.labels_topics, ["label"]),
        ("reviews", "send", "Texts for people.", settings.review_topics, ["review"]),
        (
            "dead_letters",
            "send",
            "What could not be classified.",
            (output.dead_letter_topic,),
            ["dead_letter"],
        ),
        (
            "verdicts",
            "receive",
            "Decisions: the console and other tools write them, learn and monitor read them.",
            (output.verdicts_topic,),
            ["verdict"],
        ),
        (
            "escalations",
            "send",
            "Texts for the later stages of a cascade, which run in another service.",
            tuple(settings.escalation_topics.values()),
            ["escalation"],
        ),
        (
            "shadow",
            "send",
            "What a second model says.",
            (None if shadow is None else shadow.topic,),
            ["shadow"],
        ),
        ("appeals", "receive", "For the review console.", (appeals,), ["appeal"]),
        ("control", "receive", "What deploy announces.", (control.topic,), ["deployment"]),
    ]
    return [
        (name, action, about, tuple(topic for topic in topics if topic is not None), kinds)
        for name, action, about, topics, kinds in found
    ]


def _servers(settings: Settings) -> dict[str, Any]:
    is_secure = settings.kafka.security.protocol != "PLAINTEXT"
    hosts = [each.strip() for each in settings.kafka.bootstrap_servers.split(",")]
    return {
        f"broker{number}": {"host": host, "protocol": "kafka-secure" if is_secure else "kafka"}
        for number, host in enumerate(hosts)
    }


def _channel(topic: str | None, about: str, messages: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": topic,  # null: topics of a pattern
        "description": about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if topic is not None:
        found["bindings"] = {"kafka": {"topic": topic, "bindingVersion": BINDING}}
    return found


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _write(root: Path) -> None:
    for name, content in files().items():
        (root / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
