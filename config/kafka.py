"""The settings of the Kafka connection, of the input and of the outputs."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from streamlabel.config.input_format import FORMATS, format_or_installed, settings_of_format
from streamlabel.config.input_topics import InputTopics, TopicName
from streamlabel.config.section import FormatSettings, Section
from streamlabel.config.security import SecuritySettings

__all__ = ["InputSettings", "KafkaSettings", "OutputSettings", "SecuritySettings"]

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+)(:(?P<port>\d{1,5}))?")


def _address_problem(server: str) -> str | None:
    """Return what is wrong with one address of bootstrap_servers; None if it is valid."""
    if not server:
        return "is empty"
    if "://" in server:
        return "is a URL"
    if "@" in server:
        return "contains credentials; set them in kafka.security"
    found = _ADDRESS.fullmatch(server)
    if found is None:
        return "is not host:port"
    port = found["port"]
    return "has a port outside 1 to 65535" if port and not 0 < int(port) < 65536 else None


class KafkaSettings(Section):
    """Connection to the Kafka cluster, and membership in the consumer group."""

    bootstrap_servers: str = Field(
        "localhost:9092",
        min_length=1,
        description="Addresses of the brokers as host:port, separated by commas.",
    )
    client_id: str = Field(
        "streamlabel", min_length=1, description="Client name that appears in the brokers' logs."
    )
    group_id: str = Field("streamlabel", min_length=1, description="Name of the consumer group.")
    group_instance_id: str | None = Field(
        None,
        description="Static membership: a name, unique in the group, that stays the same across"
        " restarts (for example a StatefulSet's pod name).",
    )
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    create_topics: bool = Field(False, description="Create missing topics when the service starts.")
    partitions: int = Field(
        4, ge=1, description="Number of partitions of topics that create_topics creates."
    )
    replication_factor: int = Field(
        1, ge=1, description="Replication factor of topics that create_topics creates."
    )
    session_timeout_ms: int = Field(
        45_000,
        ge=6_000,
        description="A process that sends no heartbeat for this long loses its partitions.",
    )
    heartbeat_interval_ms: int = Field(
        3_000,
        ge=500,
        description="Interval between heartbeats; at most a third of session_timeout_ms.",
    )
    metadata_max_age_ms: int = Field(
        30_000,
        ge=100,
        description="Maximum age of topic metadata. New partitions, and a topic that was deleted"
        " and created again, are detected within this time.",
    )
    request_timeout_ms: int = Field(
        40_000, ge=1_000, description="Timeout of one request to a broker."
    )
    fetch_max_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="Maximum bytes of one fetch, all partitions together."
    )
    max_partition_fetch_bytes: int = Field(
        1024 * 1024, ge=1024, description="Maximum bytes of one fetch for one partition."
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="Compression of the records that the service writes."
    )
    max_request_bytes: int = Field(
        1_000_000,
        ge=1024,
        description="Maximum size of a record that the service writes. The topic's"
        " max.message.bytes applies if it is lower.",
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        for number, server in enumerate(servers.split(","), start=1):
            if problem := _address_problem(server.strip()):
                # does not quote the value, which may contain a password by mistake
                raise ValueError(
                    f"address {number} {problem}; write host:port, separated by commas"
                )
        return servers

    @model_validator(mode="after")
    def _heartbeats_fit(self) -> Self:
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError(
                "heartbeat_interval_ms: at most a third of session_timeout_ms"
                f" ({self.session_timeout_ms // 3})"
            )
        return self


class InputSettings(InputTopics):
    """The input topics and the format of their records."""

    # Or the name of a format that another distribution registers.
    format: SerializeAsAny[Literal["json", "text", "cloudevents"]] = Field(
        "json",
        description="Format of the record value. json: an object with the text at text_path;"
        " text: the whole value is the text; cloudevents: CloudEvents in binary or"
        " structured mode, with the text at text_path of the data. Or the name of a format that"
        " another installed distribution registers.",
    )
    decoder: SerializeAsAny[FormatSettings] | None = Field(
        None,
        validate_default=True,
        description="Settings of a format that another distribution registers; see its"
        " documentation.",
    )
    framing: Literal["none", "confluent"] = Field(
        "none",
        description="Bytes before the value. confluent: the five-byte header of a schema"
        " registry's JSON serializer (0x00 and the schema id) is required and"
        " skipped. Avro and Protobuf are not supported.",
    )
    text_path: str = Field(
        "text", min_length=1, description="Dotted path of the text in the JSON object."
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
    start_at: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where reading starts if the group has no committed offset for the topic."
        " Partitions that are added later are always read from the beginning.",
    )
    out_of_range: Literal["stop", "earliest", "latest"] = Field(
        "stop",
        description="What to do if the committed offset no longer exists, or belongs to a topic"
        " that was deleted and created again. stop: end with an error; earliest,"
        " latest: continue from the beginning or the end.",
    )
    empty_text: Literal["dead_letter", "skip"] = Field(
        "dead_letter",
        description="What to do with null values and blank texts. dead_letter: send to the"
        " dead-letter topic; skip: drop and count.",
    )
    normalise: Literal["none", "nfc"] = Field(
        "none",
        description="Unicode normalization of the text before the model. nfc: composed form, so"
        " that an accented letter is the same whether it is encoded as one character"
        " or two. Outputs keep the original text.",
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

    @model_validator(mode="after")
    def _framing_fits(self) -> Self:
        if self.framing != "none" and self.format not in FORMATS:
            raise ValueError(f"framing: not supported by format {self.format}; set framing: none")
        if self.framing != "none" and self.format == "text":
            raise ValueError(
                "framing: confluent requires a JSON value; set format to json or"
                " cloudevents, or framing: none"
            )
        return self


class OutputSettings(Section):
    """The output topics."""

    labels_topic: TopicName = Field(
        "labels", description="Topic for labels with sufficient confidence."
    )
    review_topic: TopicName = Field(
        "review", description="Topic for records that need human review."
    )
    dead_letter_topic: TopicName = Field(
        "dead-letters", description="Topic for records that cannot be classified."
    )
    verdicts_topic: TopicName = Field(
        "verdicts",
        description="Topic for what people decide about records in review; compacted. Written by"
        " `streamlabel console`.",
    )
    probabilities: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        "all",
        description="How many label probabilities an output holds. all, or the number of most"
        " probable labels to write. Limit it for models with thousands of labels,"
        " whose outputs would exceed the topic's size limit. Routing and calibration"
        " always use all probabilities.",
    )
    near_duplicate_keys: bool = Field(
        False,
        description="Give each record in review eight keys, of which nearly equal texts share at"
        " least one, so that a wave of them can be decided at once. Needs the extra"
        " near-duplicates.",
    )
