"""The prompts of presets beside what the makers of their models publish.

Templates of guard models are not part of this project: their licences differ. What is kept is where
a prompt was published and a hash of it for each text, in ``official_prompts.json``. A folder with
the published prompts makes that file, and compares with it::

    <preset>/source.json           what: template, program, rendering, ...; where: address
    <preset>/chat_template.jinja   of the model's folder, or
    <preset>/prompt.txt            the prompt with «TEXT» in place of the text

``<preset>@<variant>`` is a second model of the preset, with a template of its own.
"""

import json
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

from streamlabel.config.presets import PRESETS, PresetName
from testing.preset_prompts import NEEDED, TEXTS, begun, written
from testing.tiny_models import CHATML, build_causal

__all__ = ["STORED", "compare", "equal_presets", "hashes_of_our_prompts"]

STORED: Final = Path(__file__).parent / "official_prompts.json"
_PLACE: Final = "«TEXT»"
_LONG: Final = 20_000  # tokens of the tiny tokenizer


def compare(published: Path) -> dict[str, dict[str, Any]]:
    """Return what is known of each prompt of a folder: its source, its hashes, and if ours is it.

    Raises:
        ValueError: the folder has a prompt of an unknown preset.
    """
    found = {}
    for folder in sorted(path for path in published.iterdir() if path.is_dir()):
        name = folder.name.partition("@")[0]
        if name not in PRESETS:
            raise ValueError(f"{folder}: there is no preset {name}")
        found[folder.name] = _compare(cast("PresetName", name), folder)
    return found


def equal_presets(found: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the presets of which every published prompt is ours."""
    names = {key.partition("@")[0] for key in found}
    return {
        name
        for name in names
        if all(found[key]["equal"] for key in found if key.partition("@")[0] == name)
    }


def hashes_of_our_prompts(name: PresetName, texts: tuple[str, ...]) -> dict[str, str]:
    """Return a hash of the prompt of each text, of a preset with a prompt file."""
    with TemporaryDirectory() as folder:
        ours = _ours(name, build_causal(Path(folder)), texts)
    return {text: _hash(prompt) for text, prompt in ours.items()}


def _compare(name: PresetName, folder: Path) -> dict[str, Any]:
    source: dict[str, Any] = json.loads((folder / "source.json").read_text())
    template = folder / "chat_template.jinja"
    given = template if template.exists() else folder / "prompt.txt"
    # what a prompt without its template does with outer white space is not known
    texts = tuple(t for t in TEXTS if template.exists() or (t and t == t.strip()))
    with TemporaryDirectory() as scratch:
        asked = CHATML if PRESETS[name].prompt_file else _template(name, given)
        model = build_causal(Path(scratch), chat_template=asked)
        ours = _ours(name, model, texts)
        theirs = {text: _theirs(name, given, text, model) for text in texts}
    return source | {
        "sha256": _hash(given.read_text()),
        "prompts": {text: _hash(prompt) for text, prompt in theirs.items()},
        "equal": ours == theirs,
    }


def _ours(name: PresetName, model: Path, texts: tuple[str, ...]) -> dict[str, str]:
    """Return our prompts, decoded from their tokens, without what begins the answer."""
    prompt, chat, _ = written(name, model, max_tokens=_LONG)
    decoded = {text: str(chat.tokens.decode(prompt.encode(text).ids)) for text in texts}
    return {text: said.removesuffix(begun(name)) for text, said in decoded.items()}


def _theirs(name: PresetName, given: Path, text: str, model: Path) -> str:
    """Return the published prompt of a text; a template is rendered by transformers."""
    from transformers import AutoTokenizer

    if given.suffix == ".txt":
        return given.read_text().replace(_PLACE, text)
    needed: Mapping[str, Any] = NEEDED.get(name, {})
    variables = {**PRESETS[name].variables, **needed.get("chat_template_kwargs", {})}
    today = date.fromisoformat(needed.get("chat_date", "2026-01-31"))
    tokenizer = AutoTokenizer.from_pretrained(model)

    def render(content: object) -> str:
        policy = variables.get("policy")
        before = [{"role": "developer", "content": policy}] if policy else []
        return str(
            tokenizer.apply_chat_template(
                [*before, {"role": "user", "content": content}],
                chat_template=given.read_text(),
                tokenize=False,
                add_generation_prompt=True,
                strftime_now=today.strftime,
                **variables,
            )
        )

    # some templates take parts of a text only, and leave out a text that is given alone
    takes_parts = "«»" not in render("«»")
    return render([{"type": "text", "text": text}] if takes_parts else text)


def _template(name: PresetName, given: Path) -> str:
    """Return the template, or one that writes the prompt and puts the text in its place."""
    said = given.read_text()
    used = "".join(f"{{% if {variable} %}}{{% endif %}}" for variable in PRESETS[name].variables)
    if given.suffix == ".jinja":
        return said
    before, after = said.split(_PLACE)
    guideline = NEEDED["shieldgemma"]["chat_template_kwargs"]["guideline"]
    parts = " + guideline + ".join(
        json.dumps(part, ensure_ascii=False) for part in after.split(guideline)
    )
    text = f"{json.dumps(before, ensure_ascii=False)} + messages[-1].content + {parts}"
    return f"{used}{{# {PRESETS[name].template_has} #}}{{{{ {text} }}}}"


def _hash(said: str) -> str:
    return sha256(said.encode()).hexdigest()
