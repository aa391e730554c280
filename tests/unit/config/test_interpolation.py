"""Variables in a configuration file: read, or refused; never taken for text."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.interpolation import InterpolationError, interpolated
from streamlabel.config.loading import Loaded, load
from streamlabel.errors import ConfigError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
TEXTS = st.text(alphabet=st.sampled_from("ab${}:-\\ é"), max_size=12)


@given(TEXTS)
def test_any_text_can_be_written(text: str) -> None:
    assert interpolated(text.replace("${", "$${"), {}) == text


@given(TEXTS, NAMES, TEXTS, TEXTS)
def test_a_variable_is_replaced_by_its_value_as_it_is(
    before: str, name: str, value: str, after: str
) -> None:
    """What is in a value is not looked at again."""
    before, after = before.replace("$", ""), after.replace("$", "")
    text = f"{before}${{{name}}}{after}"
    assert interpolated(text, {name: value}) == before + value + after


@given(TEXTS)
def test_a_text_is_read_refused_or_has_no_variable(text: str) -> None:
    environ = {"a": "1"}
    if "${" not in text:
        assert interpolated(text, environ) == text
        return
    with suppress(InterpolationError):
        result = interpolated(text, environ)
        assert text.count("$${") >= result.count("${")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "one"),
        ("x${A}y${A}z", "xoneyonez"),
        ("$A", "$A"),
        ("$$A", "$$A"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${B:-}", ""),
        ("${B:-a b:c}", "a b:c"),
        ("{A}", "{A}"),
        ("pa$$w0rd$", "pa$$w0rd$"),
    ],
)
def test_the_forms_of_a_variable(text: str, result: str) -> None:
    assert interpolated(text, {"A": "one", "EMPTY": ""}) == result


@pytest.mark.parametrize(
    "text", ["${", "${}", "${A", "${A-B}", "${1A}", "${A:-", "${A:b}", "${ A }"]
)
def test_what_begins_like_a_variable_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(InterpolationError):
        interpolated(text, {"A": "one"})


def loaded(folder: Path, text: str, environ: Mapping[str, str]) -> Loaded:
    path = folder / "streamlabel.yaml"
    path.write_text(text)
    return load(path, overrides={}, environ={"STREAMLABEL__MODEL__BACKEND": "fake", **environ})


def test_values_have_the_type_of_their_setting(tmp_path: Path) -> None:
    text = """\
kafka: {bootstrap_servers: "${HOST}:${PORT}", create_topics: "${CREATE}"}
http: {port: "${PORT}"}
input: {id_path: "${NONE}"}
routing: {thresholds: "${THRESHOLDS}"}
model: {backend: fake, labels: ["${ONE}", plain]}
"""
    environ = {
        "HOST": "broker",
        "PORT": "9092",
        "CREATE": "true",
        "NONE": "null",
        "THRESHOLDS": '{"one": 0.7}',
        "ONE": "one",
    }
    settings = loaded(tmp_path, text, environ).settings
    assert settings.kafka.bootstrap_servers == "broker:9092"
    assert settings.kafka.create_topics is True
    assert settings.http.port == 9092
    assert settings.input.id_path is None
    assert settings.routing.thresholds == {"one": 0.7}
    assert settings.model.labels == ["one", "plain"]  # type: ignore[union-attr]


def test_a_password_is_read_from_a_variable_and_its_place_is_the_file(tmp_path: Path) -> None:
    text = """\
kafka:
  security:
    protocol: SASL_SSL
    sasl_mechanism: PLAIN
    username: me
    password: ${KAFKA_PASSWORD}
"""
    result = loaded(tmp_path, text, {"KAFKA_PASSWORD": "a${b}c"})
    password = result.settings.kafka.security.password
    assert password is not None
    assert password.get_secret_value() == "a${b}c"
    assert str(result.origins["kafka.security.password"]).endswith("streamlabel.yaml:6")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("${KAFKA_PASSWORD}", "the variable KAFKA_PASSWORD is not set; set it"),
        ("geheim${geheim}", "a variable in it is not set; set it"),
        ("geheim${", "${ without a variable; write ${NAME}"),
    ],
)
def test_a_variable_that_is_not_set_is_refused_and_no_secret_shown(
    tmp_path: Path, value: str, sentence: str
) -> None:
    text = f"kafka: {{security: {{password: '{value}'}}}}"
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, {})
    message = str(caught.value)
    assert message.startswith(f"kafka.security.password: {sentence}")
    assert message.endswith("streamlabel.yaml:1)")
    assert "geheim" not in message


def test_every_variable_that_is_not_set_is_named_with_its_line(tmp_path: Path) -> None:
    text = "kafka:\n  group_id: ${GROUP}\n  client_id: a-${CLIENT}\n"
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, {})
    first, second = str(caught.value).splitlines()
    assert "GROUP" in first
    assert first.endswith(":2)")
    assert "CLIENT" in second
    assert second.endswith(":3)")
