"""The settings of the review console."""

from typing import Any

import pytest
from pydantic import ValidationError

from streamlabel.config.console import ConsoleSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_without_authentication_it_listens_on_this_machine(host: str) -> None:
    assert ConsoleSettings(host=host).auth == "none"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "review.example.org"])  # noqa: S104
def test_without_authentication_it_refuses_to_listen_beyond(host: str) -> None:
    with pytest.raises(ValidationError, match="auth: none is for this machine only; set auth to"):
        ConsoleSettings(host=host)
    assert ConsoleSettings(host=host, auth="local").host == host


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"auth": "oidc"}, "oidc.issuer: required by auth: oidc"),
        ({"auth": "oidc", "oidc": {"issuer": "https://a"}}, "oidc.client_id: required"),
        ({"auth": "proxy"}, "proxy.addresses: required by auth: proxy"),
        ({"proxy": {"addresses": ["10.0.0.0/33"]}}, "is not an IP address or network"),
        ({"session_key": "short"}, "session_key: at least 16 characters"),
        ({"pseudonym_key": "short"}, "pseudonym_key: at least 16 characters"),
        ({"database_password": "x"}, "database_password: only with a PostgreSQL address"),
        ({"database": "postgresql://a:secret@host/name"}, "database: contains a password"),
    ],
)
def test_what_contradicts_itself_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ConsoleSettings.model_validate(settings)
    messages = [each["msg"] for each in raised.value.errors(include_input=False)]
    assert any(problem in message for message in messages), messages
    assert not any("secret@" in message for message in messages)


def test_addresses_of_proxies_may_be_networks() -> None:
    settings = {"auth": "proxy", "proxy": {"addresses": ["10.0.0.0/8", "::1"]}, "host": "10.0.0.1"}
    assert ConsoleSettings.model_validate(settings).proxy.addresses == ["10.0.0.0/8", "::1"]
