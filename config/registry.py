"""The settings of a schema registry, and which framings and formats fit together."""

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from streamlabel.config.section import Section

__all__ = ["SCHEMA_FORMATS", "Framing", "RegistrySettings", "framing_problem"]

# Whether a rule applies, and what is wrong then.
_Rules = tuple[tuple[bool, str], ...]

Framing = Literal["none", "confluent", "confluent_header", "glue", "apicurio_header"]

# The formats whose values are read with a schema. debezium needs one only behind a framing.
SCHEMA_FORMATS: Final = ("avro", "protobuf", "json_schema", "debezium")


class RegistrySettings(Section):
    """The schema registry of the input. Schemas are fetched once an id and kept in memory."""

    url: str | None = Field(
        None,
        description="Address of the schema registry: Confluent's or one with the same interface"
        " (Karapace, Redpanda, Apicurio under /apis/ccompat/v7); with framing apicurio_header"
        " Apicurio's own interface (https://host/apis/registry/v3).",
    )
    username: str | None = Field(None, description="User name for basic authentication.")
    password: SecretStr | None = Field(None, description="Password for basic authentication.")
    token: SecretStr | None = Field(None, description="Token for bearer authentication.")
    ca_file: Path | None = Field(
        None, description="PEM file with the certificate authority of the registry."
    )
    cert_file: Path | None = Field(
        None, description="PEM file with the client certificate (mutual TLS)."
    )
    key_file: Path | None = Field(
        None, description="PEM file with the client's private key (mutual TLS)."
    )
    request_timeout_s: float = Field(
        10.0,
        gt=0,
        le=25,
        description="A request without a complete answer after this time is repeated. While the"
        " registry does not answer, nothing is read.",
    )
    retry_backoff_s: float = Field(
        1.0,
        gt=0,
        le=30,
        description="Wait before the first repetition of a request; doubled each time, up to 30 s.",
    )
    max_schemas: int = Field(
        500,
        ge=1,
        description="Maximum schemas kept in memory; those that were not used for the longest time"
        " are removed first.",
    )
    max_schema_bytes: int = Field(
        1024 * 1024, ge=1024, description="Maximum size of an answer of the registry."
    )
    unknown_schema_ttl_s: float = Field(
        60.0,
        gt=0,
        description="An id that the registry does not know is asked for again after this time.",
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        # does not quote the value, which may contain a password by mistake
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is not an address; write https://host:port") from None
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError("is not an address; write https://host:port")
        if "@" in parts.netloc:
            raise ValueError("contains credentials; set username and password")
        if parts.query or parts.fragment:
            raise ValueError("has a query or fragment; write only https://host:port/path")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username, password: set both or neither")
        if self.token is not None and self.username is not None:
            raise ValueError("token: either a token or a user name and password; remove one")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file, key_file: set both or neither")
        for name in ("username", "token", "ca_file", "cert_file"):
            if self.url is None and getattr(self, name) is not None:
                raise ValueError(f"url: required by {name}; set it")
        return self

    @model_validator(mode="after")
    def _certificates_are_used(self) -> Self:
        if self.url is not None and not self.url.startswith("https://"):
            for name in ("ca_file", "cert_file"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: the url is not https; change it or remove {name}")
        return self


def framing_problem(
    input_format: str, framing: Framing, *, has_url: bool, has_files: bool, has_file: bool
) -> str | None:
    """Return why a format and a framing do not fit together, and what to change; None: they do.

    Args:
        input_format: a built-in format.
        framing: ``input.framing``.
        has_url: ``input.registry.url`` is set.
        has_files: ``input.schema_files`` is set.
        has_file: ``input.schema_file`` is set.
    """
    has_schemas = has_url or has_files or has_file
    if input_format not in SCHEMA_FORMATS:
        rules = _rules_without_schemas(input_format, framing, has_schemas=has_schemas)
    elif framing == "none":
        needs_file = input_format in {"avro", "protobuf"}
        rules = (
            (has_url, "registry: framing none names no schemas; set framing, or remove registry"),
            (has_files, "schema_files: framing none names no schemas; set schema_file"),
            (
                input_format == "json_schema",
                "framing: format json_schema requires one; or set format: json",
            ),
            (
                needs_file and not has_file,
                f"schema_file: required by format {input_format} without framing; set one of"
                " the two",
            ),
            (
                has_file and not needs_file,
                f"schema_file: not supported by format {input_format} without framing; remove it",
            ),
        )
    else:
        rules = _rules_with_framing(
            input_format, framing, has_url=has_url, has_files=has_files, has_file=has_file
        )
    return next((problem for applies, problem in rules if applies), None)


def _rules_with_framing(
    input_format: str, framing: Framing, *, has_url: bool, has_files: bool, has_file: bool
) -> _Rules:
    is_glue = framing == "glue"
    return (
        (has_file, f"schema_file: framing {framing} names the schema of each record; remove it"),
        (
            is_glue and has_url,
            "registry.url: Glue has another interface; list the schemas in schema_files",
        ),
        (
            is_glue and not has_files,
            "schema_files: required by framing glue; set the file of each schema version id",
        ),
        (
            framing == "apicurio_header" and input_format == "protobuf" and has_url,
            "registry.url: Apicurio's own interface has no compiled Protobuf schemas; list them in"
            " schema_files",
        ),
        (
            not has_url and not has_files,
            f"registry.url: required by framing {framing}; set it, or schema_files",
        ),
    )


def _rules_without_schemas(input_format: str, framing: Framing, *, has_schemas: bool) -> _Rules:
    return (
        (
            has_schemas,
            f"registry, schema_file, schema_files: format {input_format} reads no schemas; set"
            f" format to {' or '.join(SCHEMA_FORMATS)}, or remove them",
        ),
        (
            framing != "none" and input_format == "text",
            f"framing: {framing} requires a JSON value; set format to json or"
            " cloudevents, or framing: none",
        ),
        (
            framing not in {"none", "confluent"},
            f"framing: {framing} is not supported by format {input_format}; set format:"
            " json_schema, or framing: none if the value is only JSON",
        ),
    )
