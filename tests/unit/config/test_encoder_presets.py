"""Presets of encoders: what they bring, and what contradicts them."""

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.encoder_presets import ENCODER_PRESETS, EncoderPresetName
from streamlabel.config.model import EncoderSettings
from streamlabel.config.presets import PRESETS


def test_every_name_is_a_preset() -> None:
    assert {*get_args(EncoderPresetName)} == {*ENCODER_PRESETS}
    assert not {*ENCODER_PRESETS} & {*PRESETS}


@pytest.mark.parametrize("name", ENCODER_PRESETS)
def test_a_preset_brings_its_settings_and_stays_valid_when_read_again(
    name: EncoderPresetName,
) -> None:
    made = EncoderSettings.model_validate({"path": "x", "preset": name})
    for setting, value in ENCODER_PRESETS[name].brings.items():
        assert getattr(made, setting) == value
    assert EncoderSettings.model_validate(made.model_dump()) == made
    assert EncoderSettings.model_validate({"path": "x"}).problem_type == "auto"


def test_a_limit_of_the_user_counts() -> None:
    given = {"path": "x", "preset": "prompt-guard-2", "max_tokens": 256, "long_text": "review"}
    made = EncoderSettings.model_validate(given)
    assert (made.max_tokens, made.long_text, made.window_pool) == (256, "review", "max")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"preset": "toxic-bert", "problem_type": "single_label"},
            "problem_type: preset",
        ),
        (
            {"preset": "prompt-guard-2", "labels": ["a", "b"]},
            "labels: preset",
        ),
        ({"preset": "llama-guard-3"}, "is no encoder that is known; choose one of toxic-bert"),
    ],
)
def test_what_contradicts_a_preset_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EncoderSettings.model_validate({"path": "x"} | changes)


def test_they_are_listed_with_what_was_not_verified() -> None:
    shown = CliRunner().invoke(app, ["presets"]).output
    for name, preset in ENCODER_PRESETS.items():
        assert f"{name}\n  models" in shown
        assert preset.unverified in shown
    assert {*ENCODER_PRESETS} <= {
        *json.loads(CliRunner().invoke(app, ["presets", "--json"]).output)
    }
