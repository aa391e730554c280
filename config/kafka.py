"""Where the records are: brokers, group, topics, security."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from streamlabel.config.section import Section

__all__ = ["InputSettings", "KafkaSettings", "OutputSettings", "SecuritySettings"]

TopicName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class SecuritySettings(Section):
    """TLS and SASL. Secrets come from the environment or from files, never from flags."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka's security.protocol."
    )
    ca_file: Path | None = Field(None, description="PEM of the authority that signed the brokers.")
    cert_file: Path | None = Field(None, description="PEM of this client's certificate (mTLS).")
    key_file: Path | None = Field(None, description="PEM of this client's key (mTLS).")
    key_password: SecretStr | None = Field(None, description="Password of key_file.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = (
        Field(None, description="Needed with a SASL protocol.")
    )
    username: str | None = Field(None, description="PLAIN and SCRAM.")
    password: SecretStr | None = Field(None, description="PLAIN and SCRAM.")
    token_file: Path | None = Field(
        None, description="OAUTHBEARER: file with the current token; read again when it changes."
    )
    allow_insecure: bool = Field(
        False, description="Allow SASL without TLS (passwords in clear on the wire)."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        sasl = self.protocol.startswith("SASL")
        if sasl and self.sasl_mechanism is None:
            raise ValueError(f"sasl_mechanism: set it, {self.protocol} needs one")
        if not sasl and self.sasl_mechanism is not None:
            raise ValueError(f"protocol: {self.protocol} does no SASL; set SASL_SSL")
        if self.protocol == "SASL_PLAINTEXT" and not self.allow_insecure:
            raise ValueError(
                "protocol: SASL_PLAINTEXT sends credentials in clear; use SASL_SSL or set"
                " allow_insecure: true"
            )
        if self.sasl_mechanism == "OAUTHBEARER":
            if self.token_file is None:
                raise ValueError("token_file: set it, OAUTHBEARER needs one")
        elif sasl and (not self.username or self.password is None):
            raise ValueError(f"username, password: set both, {self.sasl_mechanism} needs them")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file, key_file: set both or none")
        return self


class KafkaSettings(Section):
    """The cluster and our place in it."""

    bootstrap_servers: str = Field(
        "localhost:9092", min_length=1, description="host:port, several separated by commas."
    )
    client_id: str = Field("streamlabel", min_length=1, description="Shown in the broker's logs.")
    group_id: str = Field("streamlabel", min_length=1, description="The consumer group.")
    group_instance_id: str | None = Field(
        None,
        description="Static membership: a name that survives restarts (a StatefulSet's pod name).",
    )
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    create_topics: bool = Field(False, description="Create missing topics at start.")
    partitions: int = Field(4, ge=1, description="Partitions of created topics.")
    replication_factor: int = Field(1, ge=1, description="Replicas of created topics.")
    session_timeout_ms: int = Field(
        45_000, ge=6_000, description="A process silent for this long loses its partitions."
    )
    heartbeat_interval_ms: int = Field(3_000, ge=500, description="At most a third of the session.")
    request_timeout_ms: int = Field(40_000, ge=1_000, description="One request to a broker.")
    fetch_max_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="One fetch, all partitions.")
    max_partition_fetch_bytes: int = Field(
        1024 * 1024, ge=1024, description="One fetch, one partition."
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="Of the records that we write."
    )
    max_request_bytes: int = Field(
        1_000_000,
        ge=1024,
        description="Largest record that we write; the topic's max.message.bytes lowers it.",
    )

    @model_validator(mode="after")
    def _heartbeats_fit(self) -> Self:
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError(
                "heartbeat_interval_ms: at most a third of session_timeout_ms"
                f" ({self.session_timeout_ms // 3})"
            )
        return self


class InputSettings(Section):
    """What arrives."""

    topic: TopicName = Field("texts", description="The topic to read.")
    format: Literal["json", "text", "cloudevents"] = Field(
        "json",
        description="json: an object with the text in text_path; text: the value is the text;"
        " cloudevents: binary or structured, the text in text_path of the data.",
    )
    text_path: str = Field("text", min_length=1, description="Dotted path to the text.")
    id_path: str | None = Field("id", description="Dotted path to the record's own id, if any.")
    metadata_path: str | None = Field(
        "metadata", description="Dotted path to what travels through to every output, if any."
    )
    start_at: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without committed offsets begins."
    )
    out_of_range: Literal["stop", "earliest", "latest"] = Field(
        "stop",
        description="When the committed offset no longer exists: stop with an error, or jump.",
    )
    empty_text: Literal["dead_letter", "skip"] = Field(
        "dead_letter", description="Null values and blank texts; skipped ones are counted."
    )
    normalise: Literal["none", "nfc"] = Field(
        "none",
        description="Spelling of what the model reads: as it came, or Unicode NFC, so that an"
        " accent is the same as one character or two. Outputs keep the text as it came.",
    )


class OutputSettings(Section):
    """What leaves."""

    labels_topic: TopicName = Field("labels", description="Labels that are sure enough.")
    review_topic: TopicName = Field("review", description="For people.")
    dead_letter_topic: TopicName = Field("dead-letters", description="What cannot be classified.")
