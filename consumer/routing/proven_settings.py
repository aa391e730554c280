"""The settings under which a calibration was made, and how those in force differ. Pure.

A guarantee holds for the predictions and the review rules that it was tested with. What changes
predictions must be equal; what sends more to review than before is harmless; what sends less is
named, because texts are then accepted that were not among those tested.
"""

from dataclasses import dataclass
from typing import Final

from streamlabel.config.settings import RoutingSettings, Settings
from streamlabel.models.calibration.calibration_sections import Fact, ProvenUnder, ReviewRules
from streamlabel.models.core.classifier import BatchHints

__all__ = ["Differences", "differences", "proven_under"]

# Settings of the section model that change predictions and are not part of the model's digest or of
# the version of its prompt. Every back end has some of them.
_PREDICTIONS: Final[tuple[str, ...]] = (
    "long_text",
    "conversations",
    "fp32_head",
    "quantization",
    "mode",
    "method",
    "max_text_chars",
    "max_text_tokens",
    "top_logprobs",
    "max_unknown_mass",
    "guided_json",
    "score_reading",
)
_WINDOWS: Final[tuple[str, ...]] = ("window_stride_tokens", "window_pool", "max_windows")

# Rule of review -> whether a larger value sends more to review.
_STRICTER_WHEN_LARGER: Final = {
    "margin": True,
    "max_off_label_mass": False,
    "max_unknown_share": False,
    "review_truncated": True,
    "review_unreadable": True,
}


@dataclass(frozen=True, slots=True)
class Differences:
    """Settings that differ, each as "name before, now value".

    Attributes:
        predictions: those that change predictions.
        looser: rules of review that send less to review than when thresholds were tested.
        stricter: rules that send more.
    """

    predictions: tuple[str, ...]
    looser: tuple[str, ...]
    stricter: tuple[str, ...]


def proven_under(settings: Settings, hints: BatchHints) -> ProvenUnder:
    """Return the settings in force that a calibration depends on.

    Args:
        settings: the whole configuration.
        hints: of the loaded model; its longest row is the limit in force, set or not.
    """
    model = settings.model
    facts: dict[str, Fact] = {"input.normalise": settings.input.normalise}
    if hints.max_tokens is not None:
        facts["model.max_tokens"] = hints.max_tokens
    names = _PREDICTIONS
    if getattr(model, "long_text", None) == "windows":
        names += _WINDOWS
    if getattr(model, "conversations", False):
        names += ("more_turns",)
    for name in names:
        if name in type(model).model_fields:
            facts[f"model.{name}"] = getattr(model, name)
    if "tokenizer" in type(model).model_fields:  # it belongs to the model; its path does not matter
        facts["model.tokenizer"] = "none" if getattr(model, "tokenizer", None) is None else "given"
    return ProvenUnder(predictions=facts, review=_rules(settings.routing))


def differences(proven: ProvenUnder, now: ProvenUnder) -> Differences:
    """Return how the settings in force differ from those that thresholds were tested with."""
    both = [name for name in proven.predictions if name in now.predictions]
    changed = [
        _told(name, proven.predictions[name], now.predictions[name])
        for name in both
        if proven.predictions[name] != now.predictions[name]
    ]
    looser: list[str] = []
    stricter: list[str] = []
    for name, grows in _STRICTER_WHEN_LARGER.items():
        then, value = getattr(proven.review, name), getattr(now.review, name)
        if value != then:
            sentences = stricter if (value > then) == grows else looser
            sentences.append(_told(f"routing.{name}", then, value))
    return Differences(tuple(changed), tuple(looser), tuple(stricter))


def _rules(routing: RoutingSettings) -> ReviewRules:
    return ReviewRules(**{name: getattr(routing, name) for name in _STRICTER_WHEN_LARGER})


def _told(name: str, before: Fact, now: Fact) -> str:
    return f"{name} {_shown(before)}, now {_shown(now)}"


def _shown(value: Fact) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
