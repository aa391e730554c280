"""kafka.bootstrap_servers: addresses, and a sentence for what people take for one."""

import pytest
from pydantic import ValidationError

from streamlabel.config.kafka import KafkaSettings


@pytest.mark.parametrize(
    "servers",
    [
        "localhost:9092",
        "localhost",
        "a.example:1,b-c_d:65535",
        "a:1, b:2",
        "[::1]:9092",
        "10.0.0.1",
    ],
)
def test_addresses_are_taken_as_they_are(servers: str) -> None:
    assert KafkaSettings(bootstrap_servers=servers).bootstrap_servers == servers


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ("http://localhost:9092", "address 1 is a URL"),
        ("a:1,SASL_SSL://b:9093", "address 2 is a URL"),
        ("https://user:planted@a:1", "is a URL"),
        ("user:planted@a:1", "contains credentials"),
        ("a:1,", "address 2 is empty"),
        (" ", "address 1 is empty"),
        ("a:0", "port"),
        ("a:65536", "port"),
        ("a:port", "is not host:port"),
        ("a:1;b:2", "is not host:port"),
        ("a b:1", "is not host:port"),
        ("fe80::1", "is not host:port"),
        ("[]:1", "is not host:port"),
    ],
)
def test_what_is_no_address_is_named_without_its_content(servers: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        KafkaSettings(bootstrap_servers=servers)
    said = caught.value.errors()[0]["msg"]
    assert problem in said
    assert "planted" not in said
