"""Item 3: a calibration knows the settings that it was made with, and what differs is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streamlabel.config import model as config_model
from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import RoutingSettings, Settings
from streamlabel.consumer.routing.calibrated_router import policy_for, policy_of
from streamlabel.consumer.routing.proven_settings import differences, proven_under
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import PrecisionUsed
from streamlabel.models.core.classifier import BatchHints, Prediction
from tests.flow.rig import LABELS, ScriptedClassifier

BACKENDS: tuple[type[BaseModel], ...] = get_args(get_args(config_model.ModelSettings)[0])

# Settings of a model that another mechanism compares: its digest, the version of its prompt, its
# device and its dtype. The digest of a remote model is that of address and name.
ELSEWHERE = {
    "backend", "path", "revision", "labels", "problem_type", "task", "adapter", "chat_template",
    "chat_date", "chat_template_kwargs", "preset",
    "device", "dtype", "base_url", "model", "extra_body",
}  # fmt: skip
# Settings that change how fast a prediction comes, not what it is.
NEUTRAL = {
    "threads", "reuse_prefix", "max_num_batched_tokens", "max_num_seqs", "gpu_memory_utilization",
    "kv_cache_gib", "block_size", "prefix_caching", "tensor_parallel", "enforce_eager",
    "additional_config", "own_forward", "max_in_flight", "request_timeout_s", "canary_interval_s",
    "canary_timeout_s", "api_key", "token_limit_field", "concurrency", "max_tries",
    "retry_backoff_s", "outage_timeout_s", "batch_s", "token_s", "fail_on", "crash_on",
    "lose_device_on", "hang_on", "reject_on", "oom_over_tokens",
}  # fmt: skip


def settings(**routing: object) -> Settings:
    return Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"calibration": "c.yaml", **routing}}
    )


MODEL = ScriptedClassifier(hints=BatchHints(max_tokens=128))


def made(proven: Settings | None = None, **changes: object) -> CalibrationFile:
    """A calibration of the scripted model, made with these settings."""
    tree = {
        "model": {
            "name": "scripted",
            "backend": "fake",
            "digest": MODEL.identity.digest,
            "device": "cpu",
            "dtype": "float32",
            "labels": list(LABELS.names),
            "problem_type": "single_label",
        },
        "settings": proven_under(proven or settings(), MODEL.hints),
        "mapping": {"method": "identity"},
        "thresholds": {
            "chosen_by": "promise",
            "by_label": {"no": 0.6, "yes": 0.6},
            "bound": 0.01,
            "confidence": 0.95,
            "summary": "s",
        },
        "evidence": {
            "made_on": "2026-11-29",
            "items": 3,
            "by_label": {"no": 3},
            "log_loss_before": 0.3,
            "log_loss_after": 0.3,
        },
    }
    return CalibrationFile.model_validate(tree | changes).with_id()


def policy(
    now: Settings, file: CalibrationFile, model: ScriptedClassifier = MODEL
) -> RoutingPolicy:
    return policy_for(model, now, file)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
def test_item_3_every_setting_of_a_back_end_is_stored_or_known_not_to_change_answers(
    backend: type[BaseModel],
) -> None:
    values: dict[str, Any] = dict.fromkeys(backend.model_fields)
    values |= {"long_text": "windows", "max_tokens": 64, "conversations": True}
    section: Any = backend.model_construct(**{k: v for k, v in values.items() if k in values})
    whole = Settings.model_construct(
        model=section, routing=RoutingSettings(), input=settings().input
    )
    stored = proven_under(whole, BatchHints(max_tokens=64)).predictions
    names = {name.removeprefix("model.") for name in stored if name.startswith("model.")}
    assert set(backend.model_fields) <= names | ELSEWHERE | NEUTRAL


def test_item_3_the_longest_row_in_force_is_stored_whether_it_is_set_or_not() -> None:
    whole = settings().model_copy(update={"model": EncoderSettings(path="./m")})
    facts = proven_under(whole, BatchHints(max_tokens=512)).predictions
    assert facts == {
        "input.normalise": "none",
        "model.max_tokens": 512,
        "model.long_text": "truncate",
        "model.conversations": False,
    }


def test_item_3_a_lower_token_limit_is_refused_with_both_values() -> None:
    cut = replace(MODEL, hints=BatchHints(max_tokens=8))
    with pytest.raises(ConfigError, match=r"model\.max_tokens 128, now 8\. Set them back, or run"):
        policy(settings(), made(), cut)


def test_item_3_another_normalisation_is_refused() -> None:
    now = settings().model_copy(
        update={"input": settings().input.model_copy(update={"normalise": "nfc"})}
    )
    with pytest.raises(ConfigError, match=r"input\.normalise none, now nfc"):
        policy(now, made())


RULES = st.fixed_dictionaries(
    {
        "margin": st.sampled_from([0.0, 0.1, 0.3]),
        "max_off_label_mass": st.sampled_from([0.2, 0.5, 1.0]),
        "max_unknown_share": st.sampled_from([0.2, 0.5, 1.0]),
        "review_truncated": st.booleans(),
        "review_unreadable": st.booleans(),
    }
)
PREDICTIONS = st.builds(
    Prediction,
    st.sampled_from([(0.3, 0.7), (0.1, 0.9), (0.45, 0.55)]),
    truncated=st.booleans(),
    is_unreadable=st.booleans(),
    unknown_share=st.sampled_from([None, 0.1, 0.4, 0.9]),
    off_label_mass=st.sampled_from([None, 0.1, 0.4, 0.9]),
)


@given(then=RULES, now=RULES, prediction=PREDICTIONS)
def test_item_3_whatever_is_accepted_now_and_was_not_when_tested_is_loosened_and_named(
    then: dict[str, Any], now: dict[str, Any], prediction: Prediction
) -> None:
    file = made(settings(**then))
    tested = policy_of(LABELS, MODEL.identity, MODEL.hints, settings(**then), file)
    used = policy_of(LABELS, MODEL.identity, MODEL.hints, settings(**now), file)
    assert (tested.change, tested.changes) == (None, ())
    assert (used.change is None) == (then == now)
    assert bool(used.changes) == (then != now)
    before, after = tested.choose(prediction), used.choose(prediction)
    if before.reasons and not after.reasons:
        assert after.threshold_change == "loosened"
        assert any("does not hold" in sentence for sentence in used.changes)
    proven = proven_under(settings(**then), MODEL.hints)
    found = differences(proven, proven_under(settings(**now), MODEL.hints))
    for name in (*found.looser, *found.stricter):
        assert any(name in sentence for sentence in used.changes)


def test_item_3_another_precision_is_loosened_by_the_amount_that_is_known() -> None:
    half = replace(MODEL, identity=replace(MODEL.identity, dtype="bfloat16"))
    assert policy(settings(), made(), half).change == "loosened"
    file = made(precision=PrecisionUsed(exact_layers=0, tolerance=0.02))
    found = policy(settings(), file, half)
    assert found.change == "loosened"
    assert "dtype float32, the model runs on bfloat16" in found.changes[0]
    assert "by up to 0.02" in found.changes[0]
    layers = replace(MODEL, identity=replace(MODEL.identity, details={"exact_layers": "1"}))
    assert "with 0 layers in float32" in policy(settings(), file, layers).changes[0]


def test_item_3_confidences_without_thresholds_prove_nothing_that_could_be_loosened() -> None:
    file = made(settings(margin=0.3), thresholds=None)
    found = policy(settings(), file)
    assert (found.change, found.changes) == (None, ())
    with pytest.raises(ConfigError, match=r"model\.max_tokens"):
        policy(settings(), file, replace(MODEL, hints=BatchHints(max_tokens=8)))


VERSION_1 = """\
# Written by streamlabel calibrate; refused if it is edited by hand. Set your own thresholds in \
routing.thresholds.
schema: streamlabel.calibration/v1
id: a3a9ab25e8665645
model:
  name: m
  backend: encoder
  digest: dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
  prompt_version: null
  device: cuda:0
  dtype: float32
  labels: ['no', 'yes: sure']
  problem_type: single_label
mapping:
  method: temperature and bias
  temperature: 1.7182818284590453
  bias: {'no': 0.1, 'yes: sure': -0.1}
  slopes: {}
  offsets: {}
  notes: []
thresholds:
  chosen_by: promise
  by_label: {'no': 0.91, 'yes: sure': null}
  target_error: 0.01
  bound: 0.01
  confidence: 0.95
  summary: review 12.4 % of traffic
  pooled: []
conformal:
  miss_rate: 0.05
  limits: {'no': 0.9, 'yes: sure': 1.0}
reference:
  items: 3
  labels: {'no': 2, 'yes: sure': 1}
  confidence_quantiles: [0.5, 1.0]
  length_quantiles: [1.0, 20.0]
evidence:
  made_on: '2026-11-22'
  items: 3
  by_label: {'no': 2, 'yes: sure': 1}
  log_loss_before: 0.3
  log_loss_after: 0.2
  versions: {}
"""


def test_item_3_a_file_of_version_1_is_read_and_says_what_it_cannot_compare(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VERSION_1)
    file = CalibrationFile.read(path)
    assert file.limits["no"] == 0.91
    assert file.id == "a3a9ab25e8665645"
    labels = replace(LABELS, names=("no", "yes: sure"))
    identity = replace(MODEL.identity, digest="d" * 64, device="cuda:0")
    found = policy_of(labels, identity, BatchHints(max_tokens=8), settings(), file)
    assert found.thresholds[0] == 0.91
    assert "run streamlabel calibrate again" in found.changes[0]
    assert "its prediction sets are left out" in found.changes[0]
    assert found.limits == ()
    path.write_text(VERSION_1.replace("0.91", "0.51"))
    with pytest.raises(ConfigError, match="changed by hand"):
        CalibrationFile.read(path)
    path.write_text(VERSION_1 + "precision: {exact_layers: 1}\n")
    with pytest.raises(ConfigError, match="precision: version 1 of the file has no such section"):
        CalibrationFile.read(path)
