"""The settings of a value: its format, and where its text, id and metadata are."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from streamlabel.config.input_format import format_or_installed, settings_of_format
from streamlabel.config.input_value import Charset
from streamlabel.config.registry import Framing
from streamlabel.config.section import FormatSettings, Section

__all__ = ["ValueSettings"]


class ValueSettings(Section):
    """What a record is, and where its text is."""

    # Or the name of a format that another distribution registers.
    format: SerializeAsAny[
        Literal["json", "text", "cloudevents", "avro", "protobuf", "json_schema", "debezium"]
    ] = Field(
        "json",
        description="Format of the record value. json: an object with the text at text_path;"
        " text: the whole value is the text; cloudevents: CloudEvents in binary or"
        " structured mode, with the text at text_path of the data; avro, protobuf, json_schema:"
        " read with the schema that the framing or schema_file names; debezium: change events in"
        " JSON, or as the schema says, with the text at text_path of the new row. Or the name of a"
        " format that another installed distribution registers.",
    )
    decoder: SerializeAsAny[FormatSettings] | None = Field(
        None,
        validate_default=True,
        description="Settings of a format that another distribution registers; see its"
        " documentation.",
    )
    framing: Framing = Field(
        "none",
        description="Where a record names its schema. none: nowhere; confluent: in front of the"
        " value (0x00 and an id, or 0x01 and a GUID); confluent_header: in the header"
        " __value_schema_id; glue: in front of the value (AWS Glue); apicurio_header: in headers of"
        " Apicurio. Never detected automatically. Formats json and cloudevents only skip the bytes"
        " of confluent.",
    )
    schema_file: Path | None = Field(
        None,
        description="The schema of all records, without framing. avro: .avsc; protobuf: a"
        " descriptor set (protoc --include_imports --descriptor_set_out).",
    )
    schema_files: dict[str, Path] = Field(
        default_factory=dict,
        description="Schemas by id or GUID, as files; the registry is asked for others.",
    )
    message: str | None = Field(
        None,
        description="protobuf: full name of the message type. Default: the one that the framing"
        " names, or the first one of the schema.",
    )
    content_encoding: Literal["none", "header"] = Field(
        "none",
        description="Compression of values. header: as the record's header content-encoding says"
        " (gzip, zstd or identity). Not the compression of Kafka, which needs no setting.",
    )
    max_value_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="Maximum size of a value after content_encoding or Glue's compression. A"
        " larger one is a dead letter; the rest is not decompressed.",
    )
    charset: Charset = Field(
        "utf-8",
        description="Character encoding of text and JSON values. A value that is not valid in it"
        " is a dead letter; nothing is replaced.",
    )
    double_encoded: bool = Field(
        False,
        description="The value is a JSON string whose content is the JSON document.",
    )
    text_path: str = Field(
        "text", min_length=1, description="Dotted path of the text in the JSON object."
    )
    text_paths: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        max_length=64,
        description="Several fields that make the text together, instead of text_path: dotted"
        " paths, for example title and body. A path may lead through arrays, whose elements are"
        " all used. Fields that are missing or null are left out.",
    )
    text_separator: str = Field(
        "\n\n", description="What is between the fields of text_paths in the text."
    )
    text_default: str | None = Field(
        None,
        min_length=1,
        description="The text if all fields of text_paths are missing or null. null: such a"
        " record is a dead letter.",
    )
    messages_path: str | None = Field(
        None,
        min_length=1,
        description="Dotted path of a conversation, instead of text_path: an array of turns, each"
        " an object with role (user or assistant) and content, or strings of user and assistant by"
        " turns. The last turn is judged. Requires conversations of each model:"
        " model.task.conversations, or model.conversations of an encoder. In outputs, the text is"
        " the conversation as JSON.",
    )
    id_path: str | None = Field(
        "id",
        description="Dotted path of the record's id, if it has one; null: always use the position.",
    )
    metadata_path: str | None = Field(
        "metadata",
        description="Dotted path of a JSON value that is copied to every output, if there is one;"
        " null: copy none.",
    )

    @field_validator("format", mode="wrap")
    @classmethod
    def _ours_or_installed(cls, value: Any, ours: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401
        return format_or_installed(value, ours)

    @field_validator("decoder", mode="wrap")
    @classmethod
    def _of_the_format(
        cls,
        value: Any,  # noqa: ANN401 any value
        _ours: ValidatorFunctionWrapHandler,
        info: ValidationInfo,
    ) -> FormatSettings | None:
        if "format" not in info.data:  # invalid, and reported already
            return None
        return settings_of_format(info.data["format"], value)
