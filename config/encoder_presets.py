"""Presets of moderation models that are encoders: what their folders do not say.

An encoder has no prompt. Its preset says whether a text may have several labels, names labels that
the model leaves unnamed, and how long texts are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["ENCODER_PRESETS", "EncoderPreset", "EncoderPresetName", "with_encoder_preset"]

EncoderPresetName = Literal["toxic-bert", "prompt-guard-2"]


@dataclass(frozen=True, slots=True)
class EncoderPreset:
    """A moderation model.

    Attributes:
        models: hub ids.
        brings: settings of the section ``model``.
        labels: as the card names them.
        licence: what to read before using the model.
        published: figures of the model's card, not measured here.
        unverified: what was not tried, because no weights were at hand.
    """

    models: tuple[str, ...]
    labels: tuple[str, ...]
    licence: str
    published: str
    unverified: str
    brings: Mapping[str, Any] = field(default_factory=dict)


ENCODER_PRESETS: Final[Mapping[EncoderPresetName, EncoderPreset]] = MappingProxyType(
    {
        "toxic-bert": EncoderPreset(
            models=("unitary/toxic-bert",),
            labels=("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"),
            brings={"problem_type": "multi_label"},
            licence="Apache-2.0",
            published="mean AUC 0.986 on the test set of its competition",
            unverified="not run with its weights; label names are those of the model's folder",
        ),
        "prompt-guard-2": EncoderPreset(
            models=(
                "meta-llama/Llama-Prompt-Guard-2-22M",
                "meta-llama/Llama-Prompt-Guard-2-86M",
            ),
            labels=("benign", "malicious"),
            # 512 tokens at a time; one malicious window is enough
            brings={
                "problem_type": "single_label",
                "labels": ["benign", "malicious"],
                "max_tokens": 512,
                "long_text": "windows",
                "window_pool": "max",
            },
            licence="Llama 4 community licence",
            published="recall 0.975 (86M) and 0.887 (22M) at a false positive rate of 0.01",
            unverified="not run with its weights; that the second output means malicious is read"
            " from the card",
        ),
    }
)


def with_encoder_preset(given: dict[str, Any]) -> dict[str, Any]:
    """Return the section ``model`` with what its preset brings.

    Raises:
        ValueError: the preset is unknown, or a setting contradicts it.
    """
    name = given.get("preset")
    if name is None:
        return given
    if name not in ENCODER_PRESETS:
        listed = ", ".join(ENCODER_PRESETS)
        raise ValueError(f"preset: {name!r} is no encoder that is known; choose one of {listed}")
    brings = ENCODER_PRESETS[name].brings
    for setting in ("problem_type", "labels"):
        wanted = brings.get(setting)
        if wanted and given.get(setting, wanted) not in (wanted, None, "auto"):
            raise ValueError(
                f"{setting}: preset {name} brings {wanted!r}; remove the setting, or the preset"
            )
    own = {key: value for key, value in given.items() if value not in (None, "auto")}
    return {**given, **brings, **own}
