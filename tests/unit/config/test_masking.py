"""Credentials inside addresses are shown nowhere: settings, errors, logs."""

import io
import json
import logging
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.commands.config import setting_rows
from streamlabel.config.catalog import Entry, entries
from streamlabel.config.loading import load
from streamlabel.config.masking import mask_credentials
from streamlabel.config.settings import LoggingSettings
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.errors import ConfigError
from tests.least_models import MODELS

SECRET = "geheim-9"
URL = f"https://user:{SECRET}@host.example:8443/v1"
STRINGS = [
    entry
    for entry in entries()
    if "str" in str(entry.annotation) and "Secret" not in str(entry.annotation)
]


@pytest.mark.parametrize("address", [URL, f"user:{SECRET}@host.example:9092"])
@pytest.mark.parametrize("entry", STRINGS, ids=lambda e: f"{e.name}-{e.backend}")
def test_no_setting_shows_the_credentials_of_an_address(entry: Entry, address: str) -> None:
    backend = entry.backend or "fake"
    tree: dict[str, Any] = {"model": {"backend": backend, **MODELS[backend]}}
    overrides = {
        f"model.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in tree["model"].items()
    }
    kind = str(entry.annotation)
    value: Any = address
    if "dict" in kind:
        value = json.dumps({"proxy": {"url": [address]}})
    elif "list" in kind:
        value = json.dumps([address, "other"])
    overrides[entry.name] = value
    assert SECRET not in shown(overrides)


def shown(overrides: dict[str, str]) -> str:
    """What an operator sees of these settings: all of them, or the error."""
    try:
        loaded = load(None, overrides=overrides, environ={})
    except ConfigError as error:
        return str(error)
    return json.dumps(setting_rows(loaded, changed=False))


def test_the_address_stays_readable() -> None:
    assert mask_credentials(URL) == "https://***@host.example:8443/v1"
    assert mask_credentials(f"no answer from {URL}, again") == (
        "no answer from https://***@host.example:8443/v1, again"
    )
    servers = f"a:9092,user:{SECRET}@b:9092,c:9092"
    assert mask_credentials(servers) == "a:9092,***@b:9092,c:9092"


@pytest.mark.parametrize(
    "text",
    ["https://host:80/path", "me@example.org", "see a: b@c", "12:30 @home", "label@v1", "{a@b:c}"],
)
def test_what_holds_no_credentials_stays(text: str) -> None:
    assert mask_credentials(text) == text


@given(
    user=st.from_regex(r"[a-z]{0,5}", fullmatch=True),
    extra=st.text(alphabet=st.sampled_from("ab/:?#@%&=+,;$!"), max_size=8),
)
def test_a_password_of_any_characters_is_masked(user: str, extra: str) -> None:
    text = f"connecting to https://{user}:{extra}{SECRET}{extra}@host/v1 failed"
    assert SECRET not in mask_credentials(text)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_log_line_shows_the_credentials_of_an_address(form: str) -> None:
    stream = io.StringIO()
    settings = LoggingSettings.model_validate({"format": form})
    configure_logging(settings, environ={}, stream=stream)
    log = structlog.get_logger("a")
    log.info("said", address=URL, nested={"deep": [URL]})
    log.warning(" ".join(["to", URL]))
    logging.getLogger("httpcore").error("proxy %s refused", URL)
    log.error("failed", exc_info=ConfigError(f"model.base_url: {URL} is wrong"))
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("https://***@host.example") >= 5
