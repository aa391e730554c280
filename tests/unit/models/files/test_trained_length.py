"""A model that is served with another length than it was trained with says so."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamlabel.config.model import FakeSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.plans.opening import deploy_all
from streamlabel.models.core.classifier import BatchHints, ModelIdentity
from streamlabel.models.core.fake import FakeClassifier
from streamlabel.models.files.trained_length import length_details, other_length, store_length


def test_the_adapter_decides_before_the_model(tmp_path: Path) -> None:
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    for folder in (model, adapter):
        folder.mkdir()
    assert length_details([model, adapter]) == {}
    store_length(model, 128)
    assert length_details([model, adapter]) == {"trained_max_tokens": "128"}
    store_length(adapter, 64)
    assert length_details([model, adapter]) == {"trained_max_tokens": "64"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"max_tokens": "many"}', '{"max_tokens": 0}'])
def test_a_file_that_says_nothing_is_no_length(tmp_path: Path, content: str) -> None:
    (tmp_path / "training.json").write_text(content)
    assert length_details([tmp_path]) == {}


def test_a_difference_is_one_sentence_with_both_lengths_and_what_to_set() -> None:
    details = {"trained_max_tokens": "128"}
    for equal in (128, 127, None):  # vLLM keeps a position for the answer
        assert other_length(details, equal) is None
    assert other_length({}, 512) is None
    for limit, why in ((129, "not learned from texts longer"), (126, "are cut off")):
        said = other_length(details, limit)
        assert said is not None
        assert said.startswith("model.max_tokens: the model was trained with at most 128 tokens")
        assert f"is served with {limit}" in said
        assert why in said
        assert "set 128" in said
        assert "\n" not in said


class _Trained(FakeClassifier):
    """A model that was trained with 128 tokens, and is served with 512."""

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(
            "m", "encoder", "cpu", "float32", "0", details={"trained_max_tokens": "128"}
        )

    @property
    def hints(self) -> BatchHints:
        return BatchHints(max_tokens=512)


@pytest.mark.parametrize("made", [_Trained, FakeClassifier])
def test_the_service_logs_it_once(made: Any) -> None:  # noqa: ANN401 two classes
    settings = Settings.model_validate({"model": {"backend": "fake"}})
    classifier = made(FakeSettings())
    with capture_logs() as lines:
        [only] = deploy_all(
            settings, {"model": classifier}, limit_bytes=lambda _: 1 << 30, calibrations={}
        )
    found = [line for line in lines if line["event"] == "trained_with_other_length"]
    assert len(found) == (made is _Trained)
    for line in found:
        assert line["log_level"] == "warning"
        assert line["deployment"] == only.id
        assert "is served with 512" in line["advice"]
