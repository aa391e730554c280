"""A hub id: fetched at a commit, which is said if it is not pinned; a missing folder is named."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.files.hub import commit_to_pin

COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"


def settings(path: object, **changes: object) -> EncoderSettings:
    return EncoderSettings.model_validate({"path": str(path)} | changes)


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on this machine with one model in it; no test needs the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--some--model"
    (model / "refs").mkdir(parents=True)
    for name in ("main", "v1"):
        (model / "refs" / name).write_text(COMMIT)
    files = model / "snapshots" / COMMIT
    files.mkdir(parents=True)
    (files / "config.json").write_text(json.dumps({"id2label": {"0": "ham", "1": "spam"}}))
    (files / "model.safetensors").write_bytes(b"")
    (files / "tokenizer.json").write_text("{}")
    return files


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_model_that_is_not_pinned_says_its_commit(hub: Path, revision: str | None) -> None:
    unpinned = settings("some/model", revision=revision)
    with capture_logs() as lines:
        opened = open_checkpoint(unpinned)
    assert (opened.folder, opened.name) == (hub, "some/model")
    [line] = [line for line in lines if line["event"] == "model_not_pinned"]
    assert line["commit"] == COMMIT
    assert line["advice"] == f"set model.revision: {COMMIT}"
    assert commit_to_pin(unpinned) == COMMIT


def test_a_pinned_model_and_a_folder_have_nothing_to_pin(hub: Path) -> None:
    pinned = settings("some/model", revision=COMMIT)
    with capture_logs() as lines:
        assert open_checkpoint(pinned).folder == hub
        assert open_checkpoint(settings(hub)).folder == hub
    assert [line for line in lines if line["event"] == "model_not_pinned"] == []
    assert commit_to_pin(pinned) is None
    assert commit_to_pin(settings(hub)) is None


@pytest.mark.parametrize("path", ["./no/such/folder", "a/b/c", "/missing"])
def test_what_cannot_be_a_hub_id_is_a_folder_that_is_not_there(path: str) -> None:
    tried = Path(path).absolute()
    with pytest.raises(ConfigError, match=rf"^model\.path: there is no folder {tried}; correct it"):
        open_checkpoint(settings(path, revision="abc"))


def test_a_hub_id_that_cannot_be_fetched_names_the_folder_that_was_tried_too() -> None:
    absent = settings("other/model", revision="abc")
    absent.looked_for(Path("/etc/streamlabel/other/model"))
    expected = (
        r"^model\.path: there is no folder /etc/streamlabel/other/model, and the hub id other/model"
        r" at revision abc cannot be fetched"
    )
    with pytest.raises(ModelLoadError, match=expected):
        open_checkpoint(absent)
    assert commit_to_pin(absent) is None
