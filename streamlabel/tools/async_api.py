"""The contract of a configured service as AsyncAPI 3: its channels, messages and bindings. Pure.

``scripts/generate`` writes that of the defaults below a source tree, given as the argument.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from streamlabel import __version__
from streamlabel.config.kafka import InputSettings, OutputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.output.published_schemas import PublishedName, avro_schema, proto_text
from streamlabel.consumer.output.schemas import schemas

__all__ = ["as_yaml", "document", "files"]

_BINDING: Final = "0.5.0"
_FORMATS: Final = {
    "avro": "application/vnd.apache.avro;version=1.9.0",
    "protobuf": "application/vnd.google.protobuf;version=3",
}
_CONTENT_TYPES: Final = {"avro": "avro/binary", "protobuf": "application/x-protobuf"}
_ABOUT: Final[Mapping[PublishedName, str]] = {
    "label": "A text that the model is sure of.",
    "review": "A text that people have to decide about.",
    "verdict": "What a person decided about a text in review.",
}


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
        channels[name] = _channel(topic, f"Texts: {title or topic}.", [f"text{number}"])
        operations[f"read{number}"] = _operation("receive", name)
    for name, topics, kinds in _outputs(settings):
        for number, topic in enumerate(topics):
            channel = f"{name}{number}" if len(topics) > 1 else name
            channels[channel] = _channel(topic, f"{name.capitalize()}.", kinds)
            action = "receive" if name == "verdicts" else "send"
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
        "components": {"messages": _messages(settings), "schemas": _schemas(settings.output)},
    }


def as_yaml(settings: Settings) -> str:
    """Return the document as YAML."""
    found = document(settings)
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100)


def files() -> dict[str, str]:
    """Return the generated file, by its path in the tree."""
    defaults = Settings.model_validate({"model": {"backend": "fake"}})
    return {"docs/schemas/asyncapi.yaml": as_yaml(defaults)}


def _outputs(settings: Settings) -> list[tuple[str, tuple[str, ...], list[str]]]:
    output = settings.output
    return [
        ("labels", settings.labels_topics, ["label"]),
        ("reviews", settings.review_topics, ["review"]),
        ("dead_letters", (output.dead_letter_topic,), ["dead_letter"]),
        ("verdicts", (output.verdicts_topic,), ["verdict"]),
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
        found["bindings"] = {"kafka": {"topic": topic, "bindingVersion": _BINDING}}
    return found


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _messages(settings: Settings) -> dict[str, Any]:
    found = {
        f"text{number}": _input(title, each)
        for number, (title, each) in enumerate(settings.input.each)
    }
    for name, about in _ABOUT.items():
        found[name] = {
            "name": name,
            "summary": about,
            "contentType": _CONTENT_TYPES.get(settings.output.format, "application/json"),
            "payload": _payload(settings.output, name),
            "bindings": {"kafka": {"key": _key(settings.output, name), "bindingVersion": _BINDING}},
        }
    found["dead_letter"] = {
        "name": "dead_letter",
        "summary": "A record that could not be classified: key, value and headers as they were, and"
        " headers that say why.",
        "headers": {
            "type": "object",
            "required": ["streamlabel-error-reason"],
            "properties": {
                "streamlabel-error-reason": {"type": "string"},
                "streamlabel-error-message": {"type": "string"},
                "streamlabel-source-topic": {"type": "string"},
                "streamlabel-source-partition": {"type": "string"},
                "streamlabel-source-offset": {"type": "string"},
            },
        },
        "payload": {"description": "The value of the record, byte for byte."},
    }
    return found


def _input(title: str, settings: InputSettings) -> dict[str, Any]:
    about = f"Format {settings.format}, framing {settings.framing}."
    payload: dict[str, Any] = {"description": about}
    if settings.format == "text":
        payload |= {"type": "string"}
    elif settings.format == "json" and not settings.text_paths:
        payload |= _nested(settings.text_path.split("."))
    return {"name": "text", "summary": f"A text. {title}".strip(), "payload": payload}


def _nested(path: list[str]) -> dict[str, Any]:
    if not path:
        return {"type": ["string", "null"], "description": "The text."}
    return {"type": "object", "required": path[:1], "properties": {path[0]: _nested(path[1:])}}


def _key(output: OutputSettings, name: PublishedName) -> dict[str, Any]:
    if name == "verdict":
        return {"type": "string", "description": "The review's id."}
    if output.key == "id":
        return {"type": "string", "description": "The record's id."}
    return {"description": "The key of the record, byte for byte; may be missing."}


def _payload(output: OutputSettings, name: PublishedName) -> dict[str, Any]:
    if output.format == "avro":
        return {"schemaFormat": _FORMATS["avro"], "schema": avro_schema(name)}
    if output.format == "protobuf":
        return {"schemaFormat": _FORMATS["protobuf"], "schema": proto_text(name)}
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(output: OutputSettings) -> dict[str, Any]:
    """Return the JSON Schemas; their definitions become components with names of their own."""
    if output.format in _FORMATS:
        return {}
    found: dict[str, Any] = {}
    for name, schema in schemas().items():
        inner = schema.get("$defs", {})
        plain = {key: value for key, value in schema.items() if key not in {"$defs", "$schema"}}
        found[name] = _moved(plain, name)
        found |= {f"{name}.{part}": _moved(each, name) for part, each in inner.items()}
    return found


def _moved(value: Any, name: str) -> Any:  # noqa: ANN401 any part of a schema
    if isinstance(value, list):
        return [_moved(each, name) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each.replace("#/$defs/", f"#/components/schemas/{name}.")
        if key == "$ref"
        else _moved(each, name)
        for key, each in value.items()
    }


def _write(root: Path) -> None:
    for name, content in files().items():
        (root / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
