"""Presets of guard models: how each is asked, what it answers, and what is known about it.

A preset renders the chat template in the model's own folder, so its prompt is the official one by
construction. A model without one is asked with the file of its card, which is in ``prompts/``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import ValidationError

from streamlabel.config.task import TaskSettings

__all__ = ["PRESETS", "Preset", "PresetName", "with_preset"]

PresetName = Literal[
    "llama-guard-3",
    "llama-guard-4",
    "qwen3guard-gen",
    "shieldgemma",
    "granite-guardian-3",
    "granite-guardian-3.3",
    "llama-guard-2",
    "llama-guard-1",
    "wildguard",
    "polyguard",
    "gpt-oss-safeguard",
]


@dataclass(frozen=True, slots=True)
class Preset:
    """A guard model.

    Attributes:
        models: hub ids.
        template_has: text of the chat template by which the model is recognised; empty: it has no
            chat template, and cannot be told from other models.
        template_lacks: text that the templates of similar models have.
        labels: name -> answers.
        answer_prefix: see ``task.answer_prefix``.
        variables: for the chat template; may be overridden.
        needs: variables that have no default, with what they are.
        prompt_file: in ``prompts/``, for a model without a chat template, or whose template is
            that of other models.
        reasoning: see ``task.reasoning``; empty: the model answers at once.
        policy_variable: the variable that says what is judged, for ``task.policies``.
        licence: what to read before using the model.
        published: figures of the model's card, not measured here.
        unverified: what was not tried, because no weights were at hand.
        compared: what its maker publishes, and our prompt was compared with to the last byte;
            empty: nothing of the kind was at hand.
    """

    models: tuple[str, ...]
    template_has: str
    labels: Mapping[str, tuple[str, ...]]
    licence: str
    published: str
    unverified: str
    compared: str = ""
    template_lacks: str = ""
    answer_prefix: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    policy_variable: str = ""
    prompt_file: str = ""
    reasoning: Mapping[str, Any] = field(default_factory=dict)

    def task(
        self, name: str, policies: Sequence[Any] = (), *, conversations: bool = False
    ) -> dict[str, Any]:
        """Return the task of the preset, as in ``model.task``.

        Args:
            name: of the preset.
            policies: of the user, for a model that judges one policy at a time.
            conversations: texts are conversations.
        """
        several = {"policies": list(policies), "policy_variable": self.policy_variable}
        own = files("streamlabel.config") / "prompts" / self.prompt_file
        return (several if policies else {}) | {
            "prompt_file": str(own) if self.prompt_file else None,
            "name": name,
            "prompt": "verbatim",
            "conversations": conversations,
            "answer_prefix": self.answer_prefix,
            "reasoning": dict(self.reasoning) or None,
            # exact for answers of any length, and one read if all are one token
            "scoring": "trie",
            "labels": [
                {"name": label, "answers": list(answers)} for label, answers in self.labels.items()
            ],
        }


_CATEGORIES: Final = "<BEGIN UNSAFE CONTENT CATEGORIES>"
_QWEN: Final = "USER's query"
_SAFE: Final = {"safe": ("safe",), "unsafe": ("unsafe",)}
_CRITERIA: Final = "criteria_id"
_NOT_RUN: Final = (
    "not run with its weights; the single answers are tokens of the folder's tokenizer"
)

PRESETS: Final[Mapping[PresetName, Preset]] = MappingProxyType(
    {
        "llama-guard-3": Preset(
            models=("meta-llama/Llama-Guard-3-8B", "meta-llama/Llama-Guard-3-1B"),
            template_has=_CATEGORIES,
            template_lacks=_QWEN,
            labels=_SAFE,
            # where the template does not end with them, the model writes them first
            answer_prefix="\n\n",
            licence="Llama 3.1 (8B) and Llama 3.2 (1B) community licences",
            published="F1 0.939, AUPRC 0.985, false positive rate 0.040 on its own test set (8B)",
            compared="the templates of the 8B and the 1B model, as in their GGUF files",
            unverified=_NOT_RUN,
        ),
        "llama-guard-4": Preset(
            models=("meta-llama/Llama-Guard-4-12B",),
            template_has=_CATEGORIES,
            template_lacks=_QWEN,
            labels=_SAFE,
            answer_prefix="\n\n",
            licence="Llama 4 community licence",
            published="recall 0.69, false positive rate 0.11, F1 0.61 on its own English test set",
            unverified=_NOT_RUN + "; images are not read",
        ),
        "qwen3guard-gen": Preset(
            models=(
                "Qwen/Qwen3Guard-Gen-0.6B",
                "Qwen/Qwen3Guard-Gen-4B",
                "Qwen/Qwen3Guard-Gen-8B",
            ),
            template_has=_QWEN,
            labels={
                "safe": (" Safe",),
                "controversial": (" Controversial",),
                "unsafe": (" Unsafe",),
            },
            answer_prefix="Safety:",
            licence="Apache-2.0",
            published="see the technical report; strict mode counts controversial as unsafe",
            compared="what the tokenizer of the 8B model made of a text",
            unverified=_NOT_RUN,
        ),
        "shieldgemma": Preset(
            models=("google/shieldgemma-2b", "google/shieldgemma-9b", "google/shieldgemma-27b"),
            template_has="You are a policy expert trying to help determine",
            labels={"no_violation": ("No",), "violation": ("Yes",)},
            needs={"guideline": "the policy that is judged, one of those on the model card"},
            policy_variable="guideline",
            licence="Gemma terms of use",
            published="F1 0.812 (2B) and 0.821 (9B), AU-PRC 0.887 and 0.907 on the OpenAI"
            " moderation set",
            compared="the prompt on the model card",
            unverified=_NOT_RUN,
        ),
        "granite-guardian-3": Preset(
            models=(
                "ibm-granite/granite-guardian-3.0-2b",
                "ibm-granite/granite-guardian-3.0-8b",
                "ibm-granite/granite-guardian-3.1-2b",
                "ibm-granite/granite-guardian-3.1-8b",
                "ibm-granite/granite-guardian-3.2-5b",
            ),
            template_has="guardian_config",
            template_lacks=_CRITERIA,
            labels={"no_risk": ("No",), "risk": ("Yes",)},
            variables={"guardian_config": {"risk_name": "harm"}},
            policy_variable="guardian_config.risk_name",
            licence="Apache-2.0",
            published="see the model card, by risk",
            compared="the template of 3.0-2b, as in its GGUF file",
            unverified=_NOT_RUN + "; one risk at a time, other spellings of the answers not summed",
        ),
        "granite-guardian-3.3": Preset(
            models=("ibm-granite/granite-guardian-3.3-8b",),
            template_has=_CRITERIA,
            labels={"no_risk": (" no",), "risk": (" yes",)},
            answer_prefix="<score>",
            variables={"guardian_config": {"criteria_id": "harm"}, "think": False},
            policy_variable="guardian_config.criteria_id",
            licence="Apache-2.0",
            published="see the model card, by criterion",
            compared="the maker's template for another engine (Ollama)",
            unverified=_NOT_RUN + "; that the answer begins with <score> is from its maker's"
            " evaluation program; without its reasoning (think)",
        ),
        "llama-guard-2": Preset(
            models=("meta-llama/Meta-Llama-Guard-2-8B",),
            template_has=_CATEGORIES,
            template_lacks=_QWEN,
            # whether line breaks come first is not known, so both are summed
            labels={"safe": ("safe", "\n\nsafe"), "unsafe": ("unsafe", "\n\nunsafe")},
            licence="Llama 3 community licence",
            published="see the model card",
            compared="the prompt of Meta's own program (llama-recipes)",
            unverified=_NOT_RUN,
        ),
        "llama-guard-1": Preset(
            models=("meta-llama/LlamaGuard-7b",),
            template_has=_CATEGORIES,
            template_lacks=_QWEN,
            labels={"safe": (" safe",), "unsafe": (" unsafe",)},
            licence="Llama 2 community licence",
            published="AU-PRC 0.847 on the OpenAI moderation set, 0.626 on ToxicChat, as another"
            " model's card says",
            compared="the template of the model's folder, as litellm has it",
            unverified=_NOT_RUN + "; that the answer begins with a space is how Llama 2 writes",
        ),
        "wildguard": Preset(
            models=("allenai/wildguard",),
            template_has="",
            labels={"unharmful": (" no",), "harmful": (" yes",)},
            answer_prefix="Harmful request:",
            prompt_file="wildguard.jinja",
            licence="Apache-2.0, with AI2's responsible use guidelines",
            published="F1 0.721 on the OpenAI moderation set, as another model's card says",
            compared="the prompt of its authors' program (allenai/wildguard)",
            unverified=_NOT_RUN + "; the model is not recognised, so a wrong one is not refused",
        ),
        "polyguard": Preset(
            models=("ToxicityPrompts/PolyGuard-Qwen", "ToxicityPrompts/PolyGuard-Qwen-Smol"),
            template_has="",
            labels={"unharmful": (" no",), "harmful": (" yes",)},
            answer_prefix="Harmful request:",
            prompt_file="polyguard.jinja",
            licence="see the model card, and the licence of the base model",
            published="see the paper (arXiv 2504.04377)",
            compared="the prompt of its authors' program (kpriyanshu256/polyguard)",
            unverified=_NOT_RUN + "; the prompt is put into the chat template of Qwen2.5;"
            " PolyGuard-Ministral has another one",
        ),
        "gpt-oss-safeguard": Preset(
            models=("openai/gpt-oss-safeguard-20b", "openai/gpt-oss-safeguard-120b"),
            template_has="",
            labels={"no_violation": ("0",), "violation": ("1",)},
            answer_prefix='{"violation": ',
            prompt_file="gpt-oss-safeguard.jinja",
            variables={"reasoning_effort": "low"},
            needs={
                "policy": "the policy in full, which asks for an answer such as"
                ' {"violation": 0} or {"violation": 1}'
            },
            reasoning={
                "max_tokens": 1024,
                "begin": "<|channel|>analysis<|message|>",
                "end": "<|end|><|start|>assistant<|channel|>final<|message|>",
            },
            licence="Apache-2.0",
            published="see the technical report, by data set",
            compared="the template of gpt-oss, as llama.cpp has it",
            unverified=_NOT_RUN + "; needs vllm, because it reasons first; the model is not"
            " recognised, because gpt-oss has the same template",
        ),
    }
)


def with_preset(given: dict[str, Any]) -> dict[str, Any]:
    """Return the section ``model`` with what its preset brings.

    Raises:
        ValueError: the preset is unknown, lacks a variable, or there is a task besides.
    """
    name = given.get("preset")
    if name is None:
        return given
    if name not in PRESETS:
        raise ValueError(f"preset: {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    policies = _policies(given.get("task"))
    if policies and not preset.policy_variable:
        raise ValueError(
            f"preset: {name} judges all of its categories at once; remove task.policies"
        )
    conversations = bool(_part(given.get("task"), "conversations"))
    task = preset.task(name, policies, conversations=conversations)
    # its own, given again: the section is validated again
    if not _is_only(given.get("task"), {"policies", "conversations"}) and _parsed(
        given["task"]
    ) != _parsed(task):
        raise ValueError(
            "preset: it brings its own task; remove preset, or all of task but policies and"
            " conversations"
        )
    variables = {**preset.variables, **(given.get("chat_template_kwargs") or {})}
    if not policies:
        for variable, what in preset.needs.items():
            if variable not in variables:
                raise ValueError(
                    f"preset: {name} needs {what}; set chat_template_kwargs.{variable}"
                )
    return given | {"task": task, "chat_template_kwargs": variables}


def _policies(task: Any) -> list[Any]:  # noqa: ANN401 whatever was given
    """Return the policies of a task that was given, in any form."""
    found = _part(task, "policies")
    return list(found) if isinstance(found, list) else []


def _part(task: Any, name: str) -> Any:  # noqa: ANN401 whatever was given
    return task.get(name) if isinstance(task, dict) else getattr(task, name, None)


def _is_only(task: Any, names: set[str]) -> bool:  # noqa: ANN401 whatever was given
    return task is None or (isinstance(task, dict) and {*task} <= names)


def _parsed(task: Any) -> TaskSettings | None:  # noqa: ANN401 whatever was given
    try:
        return TaskSettings.model_validate(task)
    except ValidationError:
        return None
