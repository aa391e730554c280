"""Fitting a head: what is saved is an ordinary classifier that has learned its examples."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.labels import LabelSet
from streamlabel.training.head import Example, FitSettings, fit_head
from tests.models.tiny import build_model

pytestmark = pytest.mark.model

LABELS = LabelSet(("good", "bad", "rain"))
EXAMPLES = [
    Example(text, label)
    for text, label in (
        ("a good match", "good"),
        ("good stock !", "good"),
        ("the good match .", "good"),
        ("bad stock", "bad"),
        ("a bad bad match", "bad"),
        ("the bad", "bad"),
        ("rain .", "rain"),
        ("rain rain a match", "rain"),
        ("the rain", "rain"),
    )
]
QUICK = FitSettings(epochs=30, learning_rate=3e-3, batch_items=4, trained_layers=1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads cost a tiny model more than they bring, much more on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights; its own head has other labels."""
    return build_model(tmp_path_factory.mktemp("encoder"), labels=None, num_labels=3)


@pytest.mark.parametrize("trained_layers", [1, 2])
def test_a_fitted_folder_is_an_ordinary_classifier_that_knows_its_examples(
    encoder: Path, tmp_path: Path, trained_layers: int
) -> None:
    settings = FitSettings(
        epochs=30, learning_rate=3e-3, batch_items=4, trained_layers=trained_layers
    )
    folder = tmp_path / "fitted"
    steps: list[tuple[int, int]] = []

    report = fit_head(
        EXAMPLES,
        LABELS,
        encoder=encoder,
        folder=folder,
        settings=settings,
        on_step=lambda done, total: steps.append((done, total)),
    )

    assert (folder / "model.safetensors").is_file()
    assert json.loads((folder / "config.json").read_text())["id2label"] == {
        "0": "good",
        "1": "bad",
        "2": "rain",
    }
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        chosen = [
            LABELS.names[int(model(**tokenizer(example.text, return_tensors="pt")).logits.argmax())]
            for example in EXAMPLES
        ]
    assert chosen == [example.label for example in EXAMPLES]
    assert steps[-1] == (report.steps, report.steps)
    assert [done for done, _ in steps] == list(range(1, report.steps + 1))
    assert report.examples == len(EXAMPLES)
    assert report.loss < 1.0


def test_with_all_layers_frozen_only_pooler_and_head_change(encoder: Path, tmp_path: Path) -> None:
    settings = FitSettings(epochs=3, learning_rate=3e-3, batch_items=4, trained_layers=0)
    folder = tmp_path / "head"
    fit_head(EXAMPLES, LABELS, encoder=encoder, folder=folder, settings=settings)
    before = AutoModelForSequenceClassification.from_pretrained(encoder).state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("classifier.", "bert.pooler.")) for name in changed)


def test_lower_layers_and_embeddings_stay_as_they_were(encoder: Path, tmp_path: Path) -> None:
    fit_head(EXAMPLES, LABELS, encoder=encoder, folder=tmp_path / "fitted", settings=QUICK)

    before = AutoModelForSequenceClassification.from_pretrained(encoder).state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "fitted").state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    frozen = {name for name in after if "embeddings" in name or ".layer.0." in name}
    assert frozen
    assert not changed & frozen
    assert any(".layer.1." in name for name in changed)


def test_with_nothing_frozen_the_embeddings_learn_too(encoder: Path, tmp_path: Path) -> None:
    settings = FitSettings(epochs=2, learning_rate=1e-3, trained_layers=None)

    fit_head(EXAMPLES, LABELS, encoder=encoder, folder=tmp_path / "fitted", settings=settings)

    before = AutoModelForSequenceClassification.from_pretrained(encoder).state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "fitted").state_dict()
    words = next(name for name in after if "word_embeddings" in name)
    assert not torch.equal(before[words], after[words])


def test_the_same_seed_gives_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        torch.manual_seed(len(name) + ord(name[0]))  # whatever was drawn before does not matter
        fit_head(EXAMPLES, LABELS, encoder=encoder, folder=tmp_path / name, settings=QUICK)

    one, two = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / name).state_dict()
        for name in ("one", "two")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_fit_that_fails_leaves_no_folder_behind(encoder: Path, tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_head(
            EXAMPLES,
            LABELS,
            encoder=encoder,
            folder=tmp_path / "fitted",
            settings=QUICK,
            on_step=stop,
        )
    assert not (tmp_path / "fitted").exists()


def test_a_label_without_examples_is_refused_by_name(encoder: Path, tmp_path: Path) -> None:
    labels = LabelSet((*LABELS.names, "snow"))
    with pytest.raises(ConfigError, match="there is none of snow"):
        fit_head(EXAMPLES, labels, encoder=encoder, folder=tmp_path / "fitted")


def test_a_label_that_the_task_does_not_have_is_refused_by_name(
    encoder: Path, tmp_path: Path
) -> None:
    examples = [*EXAMPLES, Example("the match", "hail")]
    with pytest.raises(ConfigError, match="hail"):
        fit_head(examples, LABELS, encoder=encoder, folder=tmp_path / "fitted")


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"has no config\.json"):
        fit_head(EXAMPLES, LABELS, encoder=tmp_path, folder=tmp_path / "fitted")
