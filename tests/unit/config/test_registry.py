"""Formats, framings and schemas: what does not fit together is refused with what to change."""

from typing import get_args

import pytest
from pydantic import ValidationError

from streamlabel.config.kafka import InputSettings
from streamlabel.config.registry import SCHEMA_FORMATS, Framing, RegistrySettings

URL = {"url": "https://registry:8081"}
FILES = {"7": "post.avsc"}


def problem(**values: object) -> str:
    """Return why settings of the input are refused."""
    with pytest.raises(ValidationError) as caught:
        InputSettings.model_validate(values)
    return str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"format": "avro", "framing": "confluent", "registry": URL},
        {"format": "protobuf", "framing": "confluent_header", "registry": URL, "message": "a.B"},
        {"format": "json_schema", "framing": "apicurio_header", "registry": URL},
        {"format": "debezium"},
        {"format": "debezium", "framing": "confluent", "registry": URL},
        {"format": "avro", "framing": "glue", "schema_files": FILES},
        {"format": "avro", "framing": "confluent", "schema_files": FILES},
        {"format": "avro", "schema_file": "post.avsc"},
        {"format": "json", "framing": "confluent"},
        {"format": "json", "text_paths": ["title", "body"], "text_separator": " "},
        {"format": "text", "charset": "utf-16", "content_encoding": "header"},
    ],
)
def test_what_fits_together_is_accepted(values: dict[str, object]) -> None:
    assert InputSettings.model_validate(values).format == values["format"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "avro"}, "schema_file: required by format avro without framing"),
        ({"format": "json_schema"}, "framing: format json_schema requires one"),
        ({"format": "avro", "framing": "confluent"}, "registry.url: required by framing confluent"),
        ({"format": "avro", "registry": URL}, "registry: framing none names no schemas"),
        ({"format": "avro", "schema_files": FILES}, "schema_files: framing none names no schemas"),
        ({"format": "debezium", "schema_file": "x"}, "schema_file: not supported by format deb"),
        (
            {"format": "avro", "framing": "confluent", "registry": URL, "schema_file": "x"},
            "schema_file: framing confluent names the schema of each record",
        ),
        ({"format": "avro", "framing": "glue"}, "schema_files: required by framing glue"),
        (
            {"format": "avro", "framing": "glue", "registry": URL, "schema_files": FILES},
            "registry.url: Glue has another interface",
        ),
        (
            {"format": "protobuf", "framing": "apicurio_header", "registry": URL},
            "registry.url: Apicurio's own interface has no compiled Protobuf schemas",
        ),
        ({"format": "json", "registry": URL}, "format json reads no schemas"),
        ({"format": "text", "framing": "confluent"}, "framing: confluent requires a JSON value"),
        ({"format": "json", "framing": "glue"}, "framing: glue is not supported by format json"),
        ({"format": "avro", "schema_file": "x", "message": "a.B"}, "message: not supported"),
        ({"format": "cloudevents", "charset": "utf-16"}, "charset: format cloudevents is always"),
        (
            {"format": "json", "framing": "confluent", "charset": "utf-16"},
            "charset: values behind a framing are always UTF-8",
        ),
        ({"format": "text", "double_encoded": True}, "double_encoded: format text is not JSON"),
        ({"text_default": "x"}, "text_default: requires text_paths"),
        ({"text_separator": " "}, "text_separator: requires text_paths"),
        ({"text_paths": ["a"], "text_path": "b"}, "text_path, text_paths: set one of the two"),
        ({"text_paths": ["a", "a"]}, "text_paths: a path is listed twice"),
        ({"text_paths": ["a"], "format": "text"}, "text_paths: not supported by format text"),
        ({"charset": "utf-7"}, "charset"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object], message: str) -> None:
    assert message in problem(**values)


@pytest.mark.parametrize("name", SCHEMA_FORMATS)
@pytest.mark.parametrize("framing", get_args(Framing))
def test_every_combination_is_accepted_or_says_what_to_change(name: str, framing: str) -> None:
    extras: list[dict[str, object]] = [
        {},
        {"registry": URL},
        {"schema_files": FILES},
        {"schema_file": "x"},
    ]
    for extra in extras:
        found = ""
        try:
            InputSettings.model_validate({**extra, "format": name, "framing": framing})
        except ValidationError as error:
            found = str(error)
        assert not found or any(word in found for word in ("set ", "remove ", "list "))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "registry:8081"}, "is not an address; write https://host:port"),
        ({"url": "https://"}, "is not an address"),
        ({"url": "https://host:99999"}, "is not an address"),
        ({"url": "https://user:pass@host"}, "contains credentials; set username and password"),
        ({"url": "https://host?token=x"}, "has a query or fragment"),
        ({**URL, "username": "u"}, "username, password: set both or neither"),
        ({**URL, "username": "u", "password": "p", "token": "t"}, "token: either a token or"),
        ({**URL, "cert_file": "c"}, "cert_file, key_file: set both or neither"),
        ({"username": "u", "password": "p"}, "url: required by username; set it"),
        ({"url": "http://host", "ca_file": "c"}, "ca_file: the url is not https"),
    ],
)
def test_a_registry_that_cannot_be_asked_is_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        RegistrySettings.model_validate(values)
    assert message in str(caught.value)


def test_secrets_are_not_shown() -> None:
    section = RegistrySettings.model_validate({**URL, "username": "u", "password": "hunter2"})
    assert "hunter2" not in repr(section) + section.model_dump_json()
