"""The messages and schemas in the AsyncAPI document of a service. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from streamlabel.config.kafka import InputSettings, OutputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.output.published_schemas import PublishedName, avro_schema, proto_text
from streamlabel.consumer.output.schemas import examples, schemas

__all__ = ["BINDING", "messages_of", "schemas_of"]

# Version of AsyncAPI's bindings for Kafka.
BINDING: Final = "0.5.0"
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


def messages_of(settings: Settings) -> dict[str, Any]:
    """Return the messages of a service by name."""
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
            "bindings": {"kafka": {"key": _key(settings.output, name), "bindingVersion": BINDING}},
        }
        if settings.output.format not in _FORMATS:
            found[name]["examples"] = _examples(name)
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
    return found | _other_messages(settings)


def _examples(name: str) -> list[dict[str, Any]]:
    return [
        {"name": f"{name}{number}", "summary": "as written", "payload": payload}
        for number, payload in enumerate(examples(name))
    ]


def _other_messages(settings: Settings) -> dict[str, Any]:
    """Return the messages that only some services have."""
    found: dict[str, Any] = {}
    if settings.escalation_topics:
        about = "A record of the input, with headers that say what the stages before said."
        found["escalation"] = {
            "name": "escalation",
            "summary": about,
            "payload": {"description": "The value of the record, byte for byte."},
        }
    if settings.shadow is not None:
        found["shadow"] = {
            "name": "shadow",
            "summary": "What the second model says: a label, as JSON in every output format.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/label"},
            "examples": _examples("label"),
        }
    if settings.console.appeals_topic is not None:
        found["appeal"] = {
            "name": "appeal",
            "summary": "Somebody does not agree with a decision.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/appeal"},
            "examples": _examples("appeal"),
        }
    if settings.control.topic is not None:
        found["deployment"] = {
            "name": "deployment",
            "summary": "Models and thresholds to use, or what became of them; signed.",
            "contentType": "application/json",
            "payload": {"type": "object", "required": ["schema", "signature"]},
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


def schemas_of(settings: Settings) -> dict[str, Any]:
    """Return the JSON Schemas; their definitions become components with names of their own."""
    names = set(schemas()) - {"appeal"} if settings.output.format not in _FORMATS else set()
    names |= set() if settings.shadow is None else {"label"}
    names |= set() if settings.console.appeals_topic is None else {"appeal"}
    found: dict[str, Any] = {}
    for name, schema in schemas().items():
        if name not in names:
            continue
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
