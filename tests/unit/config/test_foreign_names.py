"""Variables that begin like ours: settings, ours, Kubernetes' service links, or named."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.catalog import entries, env_name
from streamlabel.config.foreign_names import OWN_NAMES, is_service_link, unknown_names
from streamlabel.config.loading import load
from streamlabel.errors import ConfigError

ROOT = Path(__file__).parents[3]
SOURCES = ("config", "consumer", "models", "streamlabel")
FAKE = {"STREAMLABEL__MODEL__BACKEND": "fake"}
FAKE_SETTINGS = load(None, overrides={}, environ=FAKE).settings
# Kubernetes: a DNS label; upper case, and underscores for dashes.
SERVICES = st.from_regex(r"streamlabel(-[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?)?", fullmatch=True)


def links(service: str, port: int, name: str) -> dict[str, str]:
    """What Kubernetes sets for a service with one named port."""
    prefix = service.upper().replace("-", "_")
    address = f"tcp://10.0.0.1:{port}"
    return {
        f"{prefix}_SERVICE_HOST": "10.0.0.1",
        f"{prefix}_SERVICE_PORT": str(port),
        f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}": str(port),
        f"{prefix}_PORT": address,
        f"{prefix}_PORT_{port}_TCP": address,
        f"{prefix}_PORT_{port}_TCP_PROTO": "tcp",
        f"{prefix}_PORT_{port}_TCP_PORT": str(port),
        f"{prefix}_PORT_{port}_TCP_ADDR": "10.0.0.1",
    }


@given(
    service=SERVICES,
    port=st.integers(1, 65535),
    name=st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True),
)
def test_links_of_a_service_of_any_name_are_left_alone(service: str, port: int, name: str) -> None:
    environ = {**FAKE, **links(service, port, name)}
    assert load(None, overrides={}, environ=environ).settings == FAKE_SETTINGS


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("STREAMLABEL_KAFKA__GROUP_ID", "did you mean STREAMLABEL__KAFKA__GROUP_ID"),
        ("STREAMLABEL_KAFKA_GROUP_ID", "did you mean STREAMLABEL__KAFKA__GROUP_ID"),
        ("streamlabel_kafka_group_id", "did you mean STREAMLABEL__KAFKA__GROUP_ID"),
        ("STREAMLABEL_GROUP_ID", "did you mean STREAMLABEL__KAFKA__GROUP_ID"),
        ("STREAMLABEL_HTTP_PORT", "did you mean STREAMLABEL__HTTP__PORT"),
        ("STREAMLABEL_MODEL_PATH", "did you mean STREAMLABEL__MODEL__PATH"),
        ("STREAMLABEL_BOOTSTRAP_SERVERS", "did you mean STREAMLABEL__KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAMLABEL_SECRET_DIR", "did you mean STREAMLABEL_SECRETS_DIR"),
        ("STREAMLABEL_CONFIG_FILE", "did you mean STREAMLABEL_CONFIG"),
        ("STREAMLABEL_COLOUR", "settings begin with STREAMLABEL__"),
    ],
)
def test_a_name_that_means_nothing_is_named_with_the_nearest(name: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, overrides={}, environ={**FAKE, name: "8080"})
    assert str(caught.value).startswith(f"{name}: unknown variable; ")
    assert advice in str(caught.value)
    assert "8080" not in str(caught.value)


@pytest.mark.parametrize("entry", entries(), ids=lambda e: f"{e.name}-{e.backend}")
def test_every_setting_with_an_underscore_too_few_is_found(entry: object) -> None:
    right = env_name(entry.path)  # type: ignore[attr-defined]
    for wrong in (right.replace("__", "_"), right.replace("__", "_", 1)):
        [line] = unknown_names({wrong: "x"}, where="variable")
        assert right in line


def test_our_own_names_and_other_programs_are_left_alone() -> None:
    environ = {"STREAMLABEL_DEBUG": "1", "STREAMLABEL_CONFIG": "x", "PATH": "/bin", "STREAM": "x"}
    loaded = load(None, overrides={}, environ={**FAKE, **environ})
    assert loaded.settings == FAKE_SETTINGS


def test_a_secret_file_with_a_wrong_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "STREAMLABEL_KAFKA__SECURITY__PASSWORD").write_text("geheim")
    with pytest.raises(ConfigError) as caught:
        load(None, overrides={}, environ={**FAKE, "STREAMLABEL_SECRETS_DIR": str(tmp_path)})
    assert "unknown secret file; did you mean STREAMLABEL__KAFKA__SECURITY__PASSWORD" in str(
        caught.value
    )
    assert "geheim" not in str(caught.value)


def test_a_port_that_is_a_number_is_no_link() -> None:
    assert is_service_link("STREAMLABEL_PORT", "tcp://10.0.0.1:80")
    assert not is_service_link("STREAMLABEL_PORT", "8080")


def test_every_name_in_the_sources_is_known() -> None:
    """A variable that the program reads, or a page names, must not be refused by the program."""
    sources = [
        path
        for folder in (*SOURCES, "docs", "benchmarks", "testing", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".yaml"} and path != Path(__file__)
    ]
    names = {
        name
        for path in sources
        for name in re.findall(r"\bSTREAMLABEL_[A-Z][A-Z_]*[A-Z]\b", path.read_text())
        if not name.startswith(("STREAMLABEL_KAFKA", "STREAMLABEL_PORT", "STREAMLABEL_SERVICE"))
    }
    assert names >= set(OWN_NAMES)
    assert list(unknown_names(dict.fromkeys(names, "x"), where="variable")) == []
