"""The settings of the Kafka connection, of the input and of the outputs."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from streamlabel.config.input import InputSettings
from streamlabel.config.input_topics import TopicName
from streamlabel.config.registry import RegistrySettings
from streamlabel.config.section import Section
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


class OutputSettings(Section):
    """The output topics, and the format of what is written to them."""

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
    format: Literal["json", "avro", "protobuf", "json_schema"] = Field(
        "json",
        description="Format of labels, reviews and verdicts. json: without a schema id; others:"
        " with the id of their schema in the registry in front (0x00 and four bytes). Dead letters"
        " always keep the bytes of their record.",
    )
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    auto_register: bool = Field(
        False,
        description="Register the schemas of the outputs. false: they have to be registered"
        " under TOPIC-value, otherwise the service ends at its start.",
    )
    key: Literal["input", "id"] = Field(
        "input",
        description="Key of labels and reviews. input: that of the record; id: the record's id, so"
        " that a compacted topic keeps the last result of each id.",
    )
    cloudevents_source: str | None = Field(
        None,
        min_length=1,
        description="Write the attributes of a CloudEvent as headers of labels, reviews and"
        " verdicts, with this source, for example /moderation/eu. null: write none.",
    )

    @model_validator(mode="after")
    def _registry_fits(self) -> Self:
        if self.format != "json" and self.registry.url is None:
            raise ValueError(f"registry.url: required by format {self.format}; set it")
        if self.format == "json" and (self.registry.url is not None or self.auto_register):
            name = "registry" if self.registry.url is not None else "auto_register"
            raise ValueError(f"{name}: format json has no schema; set format, or remove {name}")
        return self
