"""Compiles schemas of a registry or of files for the format of the settings. Pure."""

from collections.abc import Sequence

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.decode.avro import AvroSchema
from streamlabel.consumer.decode.protobuf import ProtobufSchema
from streamlabel.consumer.decode.schema_decoder import JSON, Schema, UnknownSchema
from streamlabel.consumer.registry.answers import Fetched

__all__ = ["compiled", "from_file"]

_KINDS = {"avro": "AVRO", "protobuf": "PROTOBUF", "json_schema": "JSON"}
# Where the registry does not say what a schema is.
_USUAL = {**_KINDS, "debezium": "AVRO"}


def compiled(fetched: Fetched, references: Sequence[Fetched], settings: InputSettings) -> Schema:
    """Return the schema, ready for decoding.

    Args:
        fetched: as the registry returned it.
        references: the schemas that it needs, those that others need first.
        settings: of the input.
    """
    kind = fetched.kind or _USUAL[settings.format]
    wanted = _KINDS.get(settings.format)
    if (wanted is not None and kind != wanted) or (wanted is None and kind == "PROTOBUF"):
        known = kind if kind in _KINDS.values() else "of another kind"
        return UnknownSchema(f"it is {known}, which format {settings.format} does not read")
    try:
        if kind == "AVRO":
            return AvroSchema(fetched.schema, [each.schema for each in references])
        if kind == "PROTOBUF":
            files = [*(each.schema for each in references), fetched.schema]
            return ProtobufSchema(files, settings.message, [each.name for each in references])
    except ValueError as error:
        return UnknownSchema(str(error))
    return JSON


def from_file(content: bytes, settings: InputSettings) -> Schema:
    """Return the schema in a file, ready for decoding.

    Raises:
        ValueError: it is none; says why.
    """
    if settings.format == "protobuf":
        from google.protobuf import descriptor_pb2  # noqa: PLC0415 with an extra

        files = descriptor_pb2.FileDescriptorSet()
        try:
            files.ParseFromString(content)
        except Exception as error:
            raise ValueError("not a descriptor set of protoc") from error
        if not files.file:
            raise ValueError("a descriptor set without a file")
        return ProtobufSchema([each.SerializeToString() for each in files.file], settings.message)
    if settings.format == "json_schema":
        return JSON
    return AvroSchema(content)
