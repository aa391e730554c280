"""The outputs as Avro and Protobuf schemas, generated from the pydantic models. Pure.

Both remain compatible: a new field is optional or has a default, and in Protobuf it gets a number
that was not used before. A test compares them with the committed files of ``docs/schemas``.
"""

from base64 import b64encode
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel

from streamlabel.consumer.output.field_shapes import Field, Kind, fields_of
from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage, schemas
from streamlabel.consumer.output.verdict import VerdictMessage

__all__ = [
    "OUTPUTS",
    "PUBLISHED",
    "OutputName",
    "PublishedName",
    "avro_schema",
    "json_schema",
    "proto_base64",
    "proto_file",
    "proto_text",
]

OutputName = Literal["label", "review"]
PublishedName = Literal["label", "review", "verdict"]
OUTPUTS: Final[dict[OutputName, type[BaseModel]]] = {"label": LabelMessage, "review": ReviewMessage}
PUBLISHED: Final[dict[PublishedName, type[BaseModel]]] = {
    "label": LabelMessage,
    "review": ReviewMessage,
    "verdict": VerdictMessage,
}

_NAMESPACE: Final = "streamlabel.v1"

# Field numbers of Protobuf: the place in these lists, from 1. Only ever append. Fields that only
# reviews have begin at 201.
_OF_LABEL: Final = (
    "schema", "id", "label", "confidence", "probabilities", "margin", "route", "reasons",
    "truncated", "model", "source", "metadata", "processed_at", "timings_ms", "task", "stage",
    "stages", "labels", "raw_probabilities", "probabilities_left_out", "prediction_set",
    "audit_probability", "off_label_mass", "argmax_is_label", "first_token_probability",
    "off_label_token", "sum_error", "unknown_share", "metadata_dropped", "cached",
    "lenient_reading", "language", "after_reasoning", "reasoning_tokens", "reasoning_cut",
    "unsure_labels",
)  # fmt: skip
_OF_REVIEW: Final = ("threshold", "text", "text_truncated", "near_duplicate_keys")
_FIRST_OF_REVIEW: Final = 201
_OF_VERDICT: Final = (
    "schema", "review_id", "id", "task", "action", "labels", "model_labels", "model_confidence",
    "model_probabilities", "raw_probabilities", "saw_model_answer", "reviewer", "decided_at",
    "duration_ms", "has_note", "look", "purpose", "reasons", "review_probability", "deployment_id",
    "model_digest", "calibration_id", "threshold_set_id", "source", "appeal",
)  # fmt: skip
_OF_PARTS: Final = {
    "Verdict": _OF_VERDICT,
    "VerdictSource": ("topic", "partition", "offset"),
    "VerdictAppeal": ("appeal_id", "review_id", "outcome"),
    "Model": (
        "name", "backend", "device", "digest", "prompt_version", "calibration_id",
        "threshold_set_id", "deployment_id", "threshold_change",
    ),
    "Source": ("topic", "partition", "offset", "timestamp_ms"),
    "Timings": ("queue", "inference"),
    "Stage": ("stage", "model", "label", "confidence", "reasons"),
}  # fmt: skip
_SCALARS: Final = {"string": 9, "double": 1, "long": 3, "boolean": 8, "json": 9}
_NAMES: Final = {9: "string", 1: "double", 3: "int64", 8: "bool"}
_MESSAGE: Final = 11


def json_schema(name: PublishedName) -> str:
    """Return the JSON Schema of an output."""
    return orjson.dumps(schemas()[name]).decode()


def avro_schema(name: PublishedName) -> dict[str, Any]:
    """Return the Avro schema of an output. Metadata is JSON in a string."""
    return _avro_record(PUBLISHED[name], name.capitalize(), top=True)


def _avro_record(model: type[BaseModel], name: str, *, top: bool = False) -> dict[str, Any]:
    record: dict[str, Any] = {"type": "record", "name": name}
    if top:
        record |= {"namespace": _NAMESPACE, "doc": (model.__doc__ or "").splitlines()[0]}
    record["fields"] = [_avro_field(each) for each in fields_of(model)]
    return record


def _avro_field(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {"name": field.name, "type": _avro_type(field.kind)}
    if field.about:
        found["doc"] = field.about
    if field.kind.is_optional:
        found |= {"type": ["null", found["type"]], "default": None}
    elif field.default is not None:
        found["default"] = field.default
    return found


def _avro_type(kind: Kind) -> Any:  # noqa: ANN401 a schema
    one: Any = "string" if kind.name == "json" else kind.name
    if kind.model is not None:
        one = _avro_record(kind.model, kind.name)
    if kind.form == "list":
        return {"type": "array", "items": one}
    return {"type": "map", "values": one} if kind.form == "map" else one


def proto_file(name: PublishedName) -> bytes:
    """Return the compiled Protobuf schema (FileDescriptorProto) of an output."""
    from google.protobuf import descriptor_pb2  # noqa: PLC0415 with an extra

    file = descriptor_pb2.FileDescriptorProto(
        name=f"streamlabel/v1/{name}.proto", package=_NAMESPACE, syntax="proto3"
    )
    title = name.capitalize()
    _fill(file.message_type.add(name=title), PUBLISHED[name], f".{_NAMESPACE}.{title}")
    compiled: bytes = file.SerializeToString(deterministic=True)
    return compiled


def _number(message: str, field: str) -> int:
    if message in _OF_PARTS:
        return _OF_PARTS[message].index(field) + 1
    if field in _OF_REVIEW:
        return _FIRST_OF_REVIEW + _OF_REVIEW.index(field)
    return _OF_LABEL.index(field) + 1


def _fill(message: Any, model: type[BaseModel], path: str) -> None:  # noqa: ANN401 a descriptor
    for each in fields_of(model):
        kind = each.kind
        field = message.field.add(
            name=each.name,
            number=_number(message.name, each.name),
            json_name=each.name,
            label=1 if kind.form == "one" else 3,
        )
        if kind.form == "map":
            entry = message.nested_type.add(name=_entry_name(each.name))
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=9, label=1, json_name="key")
            entry.field.add(
                name="value", number=2, type=_SCALARS[kind.name], label=1, json_name="value"
            )
            field.type, field.type_name = _MESSAGE, f"{path}.{entry.name}"
        elif kind.model is not None:
            inner = message.nested_type.add(name=kind.name)
            _fill(inner, kind.model, f"{path}.{kind.name}")
            field.type, field.type_name = _MESSAGE, f"{path}.{kind.name}"
        else:
            field.type = _SCALARS[kind.name]
            if kind.form == "one" and kind.is_optional:
                field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{each.name}")


def _entry_name(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_")) + "Entry"


def proto_text(name: PublishedName) -> str:
    """Return the Protobuf schema of an output as source text."""
    from google.protobuf import descriptor_pb2  # noqa: PLC0415 with an extra

    file = descriptor_pb2.FileDescriptorProto.FromString(proto_file(name))
    lines = ['syntax = "proto3";', "", f"package {file.package};", ""]
    return "\n".join([*lines, *_lines(file.message_type[0], "")]) + "\n"


def _lines(message: Any, indent: str) -> list[str]:  # noqa: ANN401 a descriptor
    entries = {each.name: each for each in message.nested_type if each.options.map_entry}
    lines = [f"{indent}message {message.name} {{"]
    for each in message.nested_type:
        if each.name not in entries:
            lines += [*_lines(each, indent + "  "), ""]
    for field in message.field:
        kind = _NAMES.get(field.type) or field.type_name.rpartition(".")[2]
        if kind in entries:
            kind = f"map<string, {_NAMES[entries[kind].field[1].type]}>"
        elif field.label == 3:
            kind = f"repeated {kind}"
        elif field.proto3_optional:
            kind = f"optional {kind}"
        lines.append(f"{indent}  {kind} {field.name} = {field.number};")
    return [*lines, f"{indent}}}"]


def proto_base64(name: PublishedName) -> str:
    """Return the compiled Protobuf schema of an output as registries take it."""
    return b64encode(proto_file(name)).decode()
