"""Writes a page of the documentation for each family of presets: what was run, what only read."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from streamlabel.config.encoder_presets import ENCODER_PRESETS
from streamlabel.config.presets import PRESETS, Preset, PresetName

__all__ = ["FAMILIES", "files"]


@dataclass(frozen=True, slots=True)
class Family:
    """Presets with one page.

    Attributes:
        title: of the page.
        about: what is peculiar to them.
        read: public material that the presets were made from.
        presets: of language models.
    """

    title: str
    about: str
    read: str
    presets: tuple[PresetName, ...] = ()


FAMILIES: Final[dict[str, Family]] = {
    "llama-guard": Family(
        "Llama Guard",
        "The policy, a list of categories, is in the model's chat template. The first word of the"
        " answer is the verdict; the categories on its second line are not read.",
        "the model cards in meta-llama/PurpleLlama",
        ("llama-guard-3", "llama-guard-4", "llama-guard-2", "llama-guard-1"),
    ),
    "qwen3guard": Family(
        "Qwen3Guard",
        "The policy is in the model's chat template. `controversial` is a label of its own: count"
        " it as unsafe (strict) or as safe (loose), or send it to review by its threshold"
        " (`routing.thresholds`).",
        "the README of QwenLM/Qwen3Guard",
        ("qwen3guard-gen",),
    ),
    "shieldgemma": Family(
        "ShieldGemma",
        "Judges one policy at a time: name it in `model.chat_template_kwargs.guideline`, or list"
        " several in `model.task.policies`, each of which becomes a label.",
        "the model card",
        ("shieldgemma",),
    ),
    "granite-guardian": Family(
        "Granite Guardian",
        "Judges one risk at a time, by the name that the model has for it; list several in"
        " `model.task.policies`.",
        "the README, cookbooks and evaluation program of ibm-granite/granite-guardian",
        ("granite-guardian-3", "granite-guardian-3.3"),
    ),
    "wildguard": Family(
        "WildGuard and PolyGuard",
        "The prompt asks about a request and a response; the response is left empty, and the first"
        " field of the answer is read. The prompt is a file of ours, because WildGuard has no chat"
        " template, and PolyGuard's does not contain the prompt.",
        "the programs of their authors",
        ("wildguard", "polyguard"),
    ),
    "gpt-oss-safeguard": Family(
        "gpt-oss-safeguard",
        "Judges by a policy that you write, and reasons before it answers, so it needs `backend:"
        " vllm` (see [reasoning first](../generative.md#reasoning-first)). The answer is begun with"
        ' `{"violation": ` in the final channel, so the policy should ask for such an object. Set'
        " `model.chat_date` to any fixed date, because the prompt contains one.",
        "the user guide in openai-cookbook, and copies of gpt-oss's chat template, which agree",
        ("gpt-oss-safeguard",),
    ),
    "encoders": Family(
        "Moderation encoders",
        "Encoders have no prompt: a preset brings what the model's folder does not say.",
        "the model cards, and the README of unitaryai/detoxify",
    ),
}
_RUN_LLM: Final = (
    "On every commit, with a tiny model of random weights: the prompt equals the rendering of"
    " transformers to the last byte, on a template built as the model's own is; the preset loads"
    " and gives probabilities; another model's template is refused."
)
_RUN_FILE: Final = (
    "On every commit, with a tiny model of random weights: the prompt equals a string that was"
    " written a second time in the tests, and has the hash of what its maker publishes."
)
_COMPARED: Final = (
    "What the makers publish was compared with our prompt once, to the last byte, and hashes of it"
    " are kept (`testing/official_prompts.json`); a folder with such files can be compared again"
    " (`python -m benchmarks.llm --only presets --official FOLDER`):"
)
_RUN_ENCODER: Final = (
    "On every commit, with a tiny model of random weights: the settings of the preset load and give"
    " probabilities."
)
_ADVICE: Final = (
    "Nobody has run these weights with this service as far as we know: measure the preset on texts"
    " of yours with `streamlabel evaluate` before you rely on it."
)


def files() -> dict[str, str]:
    """Return the pages by path."""
    return {f"docs/guards/{name}.md": _page(family) for name, family in FAMILIES.items()}


def _page(family: Family) -> str:
    parts = [f"# {family.title}\n", family.about + "\n"]
    if family.presets:
        parts += [_section(name, PRESETS[name]) for name in family.presets]
        is_file = any(PRESETS[name].prompt_file for name in family.presets)
        run = _RUN_FILE if is_file else _RUN_LLM
        unverified = {str(name): PRESETS[name].unverified for name in family.presets}
    else:
        for title, encoder in ENCODER_PRESETS.items():
            example = {"model": {"backend": "encoder", "path": "./model", "preset": title}}
            rows = _rows(encoder.models, encoder.labels, encoder.licence, encoder.published)
            parts.append(f"## {title}\n\n{_yaml(example)}\n{rows}")
        run = _RUN_ENCODER
        unverified = {str(n): encoder.unverified for n, encoder in ENCODER_PRESETS.items()}
    compared = {str(name): PRESETS[name].compared for name in family.presets}
    beside = "".join(f"- {name}: {what or 'nothing at hand'}.\n" for name, what in compared.items())
    parts.append(f"## What was run\n\n{run}\n")
    if beside:
        parts.append(f"{_COMPARED}\n\n{beside}")
    listed = "".join(f"- {name}: {what}.\n" for name, what in unverified.items())
    parts.append(f"## What was only read\n\nRead from {family.read}.\n\n{listed}\n{_ADVICE}\n")
    return "\n".join(parts)


def _section(name: str, preset: Preset) -> str:
    model: dict[str, Any] = {"backend": "vllm", "path": "./model", "preset": name}
    if preset.needs:
        model["chat_template_kwargs"] = dict.fromkeys(preset.needs, "...")
    rows = _rows(preset.models, tuple(preset.labels), preset.licence, preset.published)
    needs = "".join(
        f"- `model.chat_template_kwargs.{n}`: {what}\n" for n, what in preset.needs.items()
    )
    return f"## {name}\n\n{_yaml({'model': model})}\n{rows}{needs}"


def _yaml(tree: dict[str, Any]) -> str:
    return f"```yaml\n{yaml.safe_dump(tree, sort_keys=False)}```\n"


def _rows(models: Sequence[str], labels: Sequence[str], licence: str, published: str) -> str:
    return (
        f"- models: {', '.join(f'`{each}`' for each in models)}\n"
        f"- labels: {', '.join(f'`{each}`' for each in labels)}\n"
        f"- licence: {licence}\n"
        f"- published, not measured here: {published}\n"
    )


def _write(root: Path) -> None:
    for name, content in files().items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
