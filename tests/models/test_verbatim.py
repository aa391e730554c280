"""A prompt that is used as it is: nothing of ours around the text, and every text as it is."""

import asyncio
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from streamlabel.config.engines import RemoteSettings
from streamlabel.config.model import GenerativeSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.llm import generative
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.chat_template import load_chat
from streamlabel.models.remote.cutting import Cutter
from streamlabel.models.remote.prompt import RemotePrompt
from testing.tiny_models import CHATML, build_tokenizer
from tests.models.test_prompts import FORGERIES

pytestmark = pytest.mark.model

LABELS = [{"name": "safe"}, {"name": "unsafe"}]
FILE = (
    "<|im_start|>user\nTask: is the message below safe?\n"
    "<MESSAGE>\n{{ text }}\n</MESSAGE><|im_end|>\n"
    "<|im_start|>assistant\n"
)
# Templates in the manner of guard models, in words of our own.
POLICY = (
    "{% if messages | length != 1 %}{{ raise_exception('one turn, please') }}{% endif %}"
    "<|im_start|>user\nPolicy: C1: threats. C2: fraud.\n\n"
    "User: {{ messages[0].content | trim }}\n\n"
    "First line: safe or unsafe.<|im_end|>\n{% if add_generation_prompt %}<|im_start|>assistant\n\n"
    "{% endif %}"
)
PARTS = (
    "<|im_start|>user\n{% for part in messages[0].content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n<|im_start|>assistant\n"
)
RISK = (
    "<|im_start|>user\nRisk: {{ guardian.risk }}\n{{ messages[0].content }}<|im_end|>\n"
    "<|im_start|>assistant\n{% if enable_thinking %}<think>{% endif %}"
)
DATED = "Today: {{ strftime_now('%d %b %Y') }}\n" + POLICY
TEMPLATES: dict[str, tuple[str, dict[str, Any]]] = {
    "chatml": (CHATML, {}),
    "policy": (POLICY, {}),
    "parts": (PARTS, {}),
    "variables": (RISK, {"variables": {"guardian": {"risk": "harm"}}}),
    "dated": (DATED, {"chat_date": date(2026, 7, 26)}),
}


def prompt_for(folder: Path, given: Mapping[str, Any], **chat: Any) -> Prompt:  # noqa: ANN401 of load_chat
    loaded = load_chat(folder, name="guard", **chat)
    task = TaskSettings.model_validate({"labels": LABELS, "prompt": "verbatim"} | dict(given))
    return build_prompt(
        task, answers="one_token", render=loaded.render, tokenizer=loaded.tokens, max_tokens=2048
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, (template, _) in TEMPLATES.items():
        found[name] = tmp_path_factory.mktemp(name)
        build_tokenizer(found[name], chat_template=template)
    return found


@pytest.fixture(scope="module")
def prompts(folders: dict[str, Path]) -> dict[str, Prompt]:
    return {name: prompt_for(folders[name], {}, **TEMPLATES[name][1]) for name in TEMPLATES}


def official(name: str, folder: Path, text: str) -> str:
    """Render as the model card of a guard model says."""
    options = dict(TEMPLATES[name][1])
    given = {"enable_thinking": False, **options.get("variables", {})}
    if "chat_date" in options:
        given["strftime_now"] = options["chat_date"].strftime
    content: object = [{"type": "text", "text": text}] if name == "parts" else text
    return str(
        AutoTokenizer.from_pretrained(folder).apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            **given,
        )
    )


@pytest.mark.parametrize("name", TEMPLATES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=60))
@example("  spaces around \n")
@example("{{ text }} {% raw %}")
def test_a_models_own_template_is_rendered_byte_for_byte(
    prompts: dict[str, Prompt], folders: dict[str, Path], name: str, text: str
) -> None:
    prompt = prompts[name]
    ids = prompt.encode(text).ids
    written = prompt._tokenizer.decode(ids)
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert written == official(name, folders[name], clean)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("text", FORGERIES)
def test_a_texts_control_tokens_stay_text(prompts: dict[str, Prompt], name: str, text: str) -> None:
    controls = prompts[name]._tokenizer.controls
    count = sum(token in controls for token in prompts[name].encode(text).ids)
    assert count == sum(token in controls for token in prompts[name].encode("a").ids)


def test_a_file_is_the_whole_prompt(folders: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "guard.jinja"
    file.write_text(FILE)
    prompt = prompt_for(folders["chatml"], {"prompt_file": str(file), "answer_prefix": "Safety:"})
    ids = prompt.encode("Hello").ids
    assert prompt._tokenizer.decode(ids) == FILE.replace("{{ text }}", "Hello") + "Safety:"
    controls = [token for token in ids if token in prompt._tokenizer.controls]
    assert len(controls) == 3


def test_a_relative_file_is_beside_the_task(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        "prompt: verbatim\nprompt_file: guard.jinja\nlabels: [{name: safe}, {name: unsafe}]\n"
    )
    given = {"base_url": "http://x/v1", "model": "m", "task": str(tmp_path / "task.yaml")}
    assert RemoteSettings.model_validate(given).task.prompt_file == str(tmp_path / "guard.jinja")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Is it safe?", "contains the text 0 times; write {{ text }} exactly once"),
        ("{{ text }} and {{ text }}", "contains the text 2 times"),
        ("{{ text }", "the template says in line 1"),
        ("{% for %}{{ text }}", "the template says in line 1"),
        ("{{ text }}{{ nothing.at.all }}", "the template says: 'nothing' is undefined"),
        ("{{ 1 // 0 }}{{ text }}", "the template says"),
        ("{% if text | length > 5 %}{{ text }}{% endif %}", "changes or drops some texts"),
        ("{{ text | truncate(100) }}", "changes or drops some texts"),
        ("{{ text | lower }}", "contains the text 0 times|changes or drops some texts"),
        ("{{ text | replace('\\n', ' ') }}", "changes or drops some texts"),
        ("{{ text | e }}", "changes or drops some texts"),
        (
            "{% if '12' in text %}{{ raise_exception('digits') }}{% endif %}{{ text }}",
            "fails for some texts",
        ),
    ],
)
def test_a_file_that_is_no_prompt_is_refused(
    folders: dict[str, Path], tmp_path: Path, source: str, said: str
) -> None:
    file = tmp_path / "guard.jinja"
    file.write_text(source)
    with pytest.raises(ConfigError, match=rf"model\.task\.prompt_file: .*({said})"):
        prompt_for(folders["chatml"], {"prompt_file": str(file)})


def test_a_file_that_is_not_there_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.task\.prompt_file: .* cannot be read"):
        prompt_for(folders["chatml"], {"prompt_file": str(tmp_path / "none.jinja")})


def test_a_file_without_the_prompt_that_it_is_for_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"prompt_file: only prompt: verbatim has one"):
        prompt_for(folders["chatml"], {"prompt": "chat", "prompt_file": "x.jinja"})


def test_a_file_that_starts_a_reasoning_section_is_refused(folders: dict[str, Path]) -> None:
    variables = {"guardian": {"risk": "harm"}, "enable_thinking": True}
    with pytest.raises(ModelLoadError, match="starts a reasoning section"):
        prompt_for(folders["variables"], {}, variables=variables)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "verbatim", "instruction": "Is it safe?"}, "instruction: a verbatim prompt"),
        ({"prompt": "verbatim", "examples": [{"text": "x", "label": "safe"}]}, "examples: a verb"),
        ({"prompt": "verbatim", "delimiters": {"open": "<<"}}, "delimiters: a verbatim prompt"),
        (
            {"prompt": "verbatim", "labels": [{"name": "a", "definition": "x"}, {"name": "b"}]},
            r"labels\.definition: a verbatim prompt",
        ),
    ],
)
def test_settings_without_effect_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TaskSettings.model_validate({"labels": LABELS} | given)


def test_an_endpoint_gets_the_text_and_nothing_else() -> None:
    made = RemoteSettings.model_validate(
        {"base_url": "http://x/v1", "model": "m", "task": {"labels": LABELS, "prompt": "verbatim"}}
    )
    prompt = RemotePrompt(made, "one_token", cutter=Cutter(made))
    assert prompt.messages("a <text> b") == [{"role": "user", "content": "a <text> b"}]
    task = made.task.model_copy(update={"prompt_file": "x.jinja"})
    filed = made.model_copy(update={"task": task})
    with pytest.raises(ConfigError, match="an endpoint renders the prompt itself"):
        RemotePrompt(filed, "one_token", cutter=Cutter(made))


async def test_the_probabilities_are_those_of_the_official_code(tiny_llm: Path) -> None:
    """As a model card computes them: apply_chat_template, forward, softmax over two tokens."""
    task = {"labels": [{"name": "safe", "answers": ["No"]}, {"name": "unsafe", "answers": ["Yes"]}]}
    served = await asyncio.to_thread(
        generative.load,
        GenerativeSettings.model_validate(
            {"path": str(tiny_llm), "device": "cpu", "task": task | {"prompt": "verbatim"}}
        ),
    )
    texts = ["Hello", "You have won a prize! Call now.", "酒店很干净"]
    prepared = [text for text in await served.prepare(texts) if isinstance(text, PreparedText)]
    outcomes = await served.classify(prepared)
    await served.close()
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    model = AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32).eval()
    wanted = [tokenizer.encode(word, add_special_tokens=False)[0] for word in ("No", "Yes")]
    for text, outcome in zip(texts, outcomes, strict=True):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            enable_thinking=False,
            return_tensors="pt",
            return_dict=True,
        )["input_ids"]
        with torch.inference_mode():
            logits = model(ids).logits[0, -1, wanted]
        assert isinstance(outcome, Prediction)
        assert outcome.probabilities == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)
