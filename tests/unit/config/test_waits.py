"""Settings whose waits contradict each other are refused at load, in a sentence."""

import re

import pytest
from pydantic import ValidationError

from streamlabel.config.settings import Settings

TASK = {"labels": [{"name": "ham", "answers": ["No"]}, {"name": "spam", "answers": ["Yes"]}]}
MODELS: dict[str, dict[str, object]] = {
    "fake": {"backend": "fake"},
    "remote": {"backend": "remote", "base_url": "http://x/v1", "model": "m", "task": TASK},
    "vllm": {"backend": "vllm", "path": "x", "task": TASK},
}
PAIRS = [
    ("fake", "worker.load_timeout_s", "http.live_after_s"),
    ("fake", "worker.batch_timeout_s", "http.live_after_s"),
    ("fake", "delivery.delivery_timeout_s", "http.live_after_s"),
    ("fake", "delivery.drain_timeout_s", "http.live_after_s"),
    ("fake", "delivery.revoke_timeout_s", "http.live_after_s"),
    ("remote", "model.request_timeout_s", "model.outage_timeout_s"),
    ("remote", "model.outage_timeout_s", "worker.batch_timeout_s"),
    ("vllm", "model.request_timeout_s", "worker.batch_timeout_s"),
]


def settings(backend: str, values: dict[str, float], **more: object) -> Settings:
    given: dict[str, dict[str, object]] = {"model": MODELS[backend].copy()}
    for name, value in values.items():
        section, field = name.split(".")
        given.setdefault(section, {})[field] = value
    return Settings.model_validate(given | more)


@pytest.mark.parametrize(("backend", "shorter", "longer"), PAIRS)
def test_a_wait_is_shorter_than_the_one_around_it(backend: str, shorter: str, longer: str) -> None:
    section, field = longer.split(".")
    long_s = float(settings(backend, {}).model_dump()[section][field])
    settings(backend, {shorter: long_s - 1})
    for short_s in (long_s, long_s + 1):
        said = re.escape(f"{shorter}, {longer}: {short_s:g} s must be less than {long_s:g} s")
        with pytest.raises(ValidationError, match=said):
            settings(backend, {shorter: short_s})


@pytest.mark.parametrize("backend", MODELS)
def test_the_defaults_fit(backend: str) -> None:
    assert settings(backend, {}).model.backend == backend


def test_without_probes_nobody_restarts_the_service() -> None:
    without = settings("fake", {"worker.batch_timeout_s": 5000}, http={"enabled": False})
    assert without.worker.batch_timeout_s == 5000
