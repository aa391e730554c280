"""A guard model is asked as its own template asks, and never in a prompt of ours."""

import asyncio
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError
from transformers import AutoTokenizer
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.encoder_presets import ENCODER_PRESETS
from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import GenerativeSettings, ModelSettings
from streamlabel.config.presets import PRESETS, PresetName
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.llm import generative
from streamlabel.models.prompts.build_prompt import build_prompt
from streamlabel.models.prompts.chat_template import open_chat
from testing.official_prompts import STORED, compare, equal_presets, hashes_of_our_prompts
from testing.preset_prompts import (
    CARDS,
    NEEDED,
    POLICY,
    TEMPLATES,
    TEXTS,
    build,
    byte_equal,
)
from testing.tiny_models import CHATML, build_causal

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {str(name): build(name, tmp_path_factory.mktemp(name)) for name in TEMPLATES}


def settings(name: str, folder: Path, **changes: object) -> GenerativeSettings:
    given: dict[str, Any] = {"path": str(folder), "device": "cpu", "preset": name}
    return GenerativeSettings.model_validate(given | dict(NEEDED.get(name, {})) | changes)


def test_every_preset_is_tried_here() -> None:
    assert {*TEMPLATES} | {*CARDS} == {*PRESETS} == {*get_args(PresetName)}
    assert {name for name, preset in PRESETS.items() if preset.prompt_file} == {*CARDS}


@pytest.mark.parametrize("name", PRESETS)
def test_the_prompt_is_the_models_own_byte_for_byte(name: PresetName, tmp_path: Path) -> None:
    assert byte_equal(name, build(name, tmp_path))


def test_what_a_preset_says_was_compared_is_what_hashes_are_kept_of() -> None:
    kept = {name.partition("@")[0] for name in json.loads(STORED.read_text())}
    assert kept == {name for name, preset in PRESETS.items() if preset.compared}


@pytest.mark.parametrize("name", CARDS)
def test_a_prompt_of_ours_has_the_hash_of_the_one_that_was_published(name: PresetName) -> None:
    """The others are templates of the models' folders, which are not part of this project."""
    kept = json.loads(STORED.read_text())[name]["prompts"]
    assert hashes_of_our_prompts(name, tuple(kept)) == kept


@pytest.mark.parametrize("named", ["chat_template.jinja", "prompt.txt"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_published_prompt_that_differs_by_a_byte_is_found(
    named: str, changed: bool, tmp_path: Path
) -> None:
    """Both kinds of published files, equal and not: the comparison can fail."""
    folder = tmp_path / "wildguard"
    folder.mkdir()
    (folder / "source.json").write_text('{"what": "a test", "where": "here"}')
    written = CARDS["wildguard"]("«TEXT»") + ("." if changed else "")
    if named.endswith(".jinja"):
        before, after = map(json.dumps, written.split("«TEXT»"))
        written = f"{{{{ {before} + messages[-1].content + {after} }}}}"
    (folder / named).write_text(written)
    found = compare(tmp_path)
    assert found["wildguard"]["equal"] is not changed
    assert equal_presets(found) == (set() if changed else {"wildguard"})
    (tmp_path / "unknown").mkdir()
    with pytest.raises(ValueError, match="there is no preset unknown"):
        compare(tmp_path)


def test_a_model_without_a_chat_template_is_asked_as_its_card_says(tmp_path: Path) -> None:
    build_causal(tmp_path)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = tmp_path / name
        if name.endswith(".jinja"):
            path.unlink(missing_ok=True)
        else:
            content = json.loads(path.read_text())
            content.pop("chat_template", None)
            path.write_text(json.dumps(content))
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template is None
    assert byte_equal("wildguard", tmp_path)
    served = settings("wildguard", tmp_path)
    assert GenerativeSettings.model_validate(served.model_dump()) == served
    build_causal(tmp_path, chat_template=POLICY)
    with pytest.raises(ConfigError, match=r"wildguard is not for .* that of preset llama-guard-3"):
        open_chat(open_checkpoint(served), served, served.task)
    task = {"labels": [{"name": "safe"}, {"name": "unsafe"}]}
    plain = GenerativeSettings.model_validate({"path": str(tmp_path), "task": task})
    with pytest.raises(ConfigError, match="is a guard model"):
        open_chat(open_checkpoint(plain), plain, plain.task)


def test_a_model_that_reasons_needs_an_engine_that_waits_for_it() -> None:
    given = {"path": "x", "preset": "gpt-oss-safeguard"} | dict(NEEDED["gpt-oss-safeguard"])
    with pytest.raises(ValidationError, match=r"reasoning: transformers cannot read an answer"):
        GenerativeSettings.model_validate(given)
    made = VllmSettings.model_validate(given)
    assert made.task is not None
    assert made.task.reasoning is not None
    assert made.task.reasoning.end.endswith("final<|message|>")
    with pytest.raises(ValidationError, match=r"needs the policy .* chat_template_kwargs\.policy"):
        VllmSettings.model_validate({"path": "x", "preset": "gpt-oss-safeguard"})


def test_line_breaks_that_a_template_ends_with_are_not_repeated(tmp_path: Path) -> None:
    build_causal(tmp_path, chat_template=POLICY + "\n")  # Jinja drops one of two
    served = settings("llama-guard-3", tmp_path)
    chat = open_chat(open_checkpoint(served), served, served.task)
    rendered = build_prompt(
        served.task, answers="one_token", render=chat.render, tokenizer=chat.tokens, max_tokens=900
    ).rendered
    assert rendered.endswith("assistant\n\n\n")
    build_causal(tmp_path, chat_template=POLICY + "\n{{ '' }}")
    chat = open_chat(open_checkpoint(served), served, served.task)
    rendered = build_prompt(
        served.task, answers="one_token", render=chat.render, tokenizer=chat.tokens, max_tokens=900
    ).rendered
    assert rendered.endswith("assistant\n\n")
    assert not rendered.endswith("\n\n\n")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_guard_model_with_our_prompt_is_refused_with_its_preset(
    name: str, folders: dict[str, Path]
) -> None:
    task = {"instruction": "Is it safe?", "labels": [{"name": "safe"}, {"name": "unsafe"}]}
    given = GenerativeSettings.model_validate({"path": str(folders[name]), "task": task})
    expected = "llama-guard-3" if name.startswith("llama-guard") else name  # they look alike
    with pytest.raises(ConfigError, match=f"is a guard model.* set model.preset: {expected} and"):
        open_chat(open_checkpoint(given), given, given.task)


def test_a_preset_with_another_model_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = settings("shieldgemma", folders["qwen3guard-gen"])
    with pytest.raises(ConfigError, match=r"shieldgemma is not for .* that of preset qwen3guard"):
        open_chat(open_checkpoint(other), other, other.task)
    plain = settings("llama-guard-3", build_causal(tmp_path, chat_template=CHATML))
    with pytest.raises(ConfigError, match=r"llama-guard-3 is not for .* that of no preset"):
        open_chat(open_checkpoint(plain), plain, plain.task)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"preset": "guard"}, "preset: 'guard' is unknown; choose one of llama-guard-3"),
        (
            {"preset": "llama-guard-3", "task": {"labels": [{"name": "a"}, {"name": "b"}]}},
            "preset: it brings its own task",
        ),
        ({"preset": "shieldgemma"}, r"needs the policy .* set chat_template_kwargs\.guideline"),
    ],
)
def test_settings_that_contradict_a_preset_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GenerativeSettings.model_validate({"path": "x"} | given)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_preset_is_enough_for_every_engine_and_survives_a_copy(name: str) -> None:
    given = {"path": "x", "preset": name} | dict(NEEDED.get(name, {}))
    for backend in ("generative", "vllm"):
        made = TypeAdapter(ModelSettings).validate_python(given | {"backend": backend})
        assert isinstance(made, GenerativeSettings | VllmSettings)
        assert made.task is not None
        assert made.task.names == tuple(PRESETS[name].labels)  # type: ignore[index] # a name
        assert type(made).model_validate(made.model_dump()) == made


async def test_a_preset_classifies(folders: dict[str, Path]) -> None:
    served = await asyncio.to_thread(
        generative.load, settings("qwen3guard-gen", folders["qwen3guard-gen"])
    )
    prepared = [text for text in await served.prepare(TEXTS) if isinstance(text, PreparedText)]
    outcomes = await served.classify(prepared)
    await served.close()
    assert served.labels.names == ("safe", "controversial", "unsafe")
    for outcome in outcomes:
        assert isinstance(outcome, Prediction)
        assert sum(outcome.probabilities or ()) == pytest.approx(1)


def test_the_command_lists_what_is_known_and_what_is_not() -> None:
    said = CliRunner().invoke(app, ["presets"]).output
    for name, preset in PRESETS.items():
        assert f"\n{name}\n" in f"\n{said}"
        assert preset.models[0] in said
        assert preset.licence in said
    assert said.count("not verified") == len(PRESETS) + len(ENCODER_PRESETS)
    listed = json.loads(CliRunner().invoke(app, ["presets", "--json"]).output)
    assert listed["shieldgemma"]["needs"]["guideline"].startswith("the policy")
