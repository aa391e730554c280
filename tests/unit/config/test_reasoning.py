"""Reasoning is accepted where an answer can be read after it, and refused elsewhere."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from streamlabel.config.model import ModelSettings
from streamlabel.config.reasoning import ReasoningSettings

TASK: dict[str, Any] = {"labels": [{"name": "no"}, {"name": "yes"}], "reasoning": {}}
REMOTE = {"backend": "remote", "base_url": "http://x/v1", "model": "m"}
MODEL = TypeAdapter[Any](ModelSettings)


@pytest.mark.parametrize("given", [{"backend": "vllm", "path": "x"}, REMOTE])
def test_engines_that_can_take_it(given: dict[str, Any]) -> None:
    made = MODEL.validate_python(given | {"task": TASK})
    assert made.task.reasoning.max_tokens == 512
    assert type(made).model_validate(made.model_dump()) == made


@pytest.mark.parametrize(
    ("given", "who"),
    [
        ({"backend": "generative", "path": "x"}, "transformers"),
        ({"backend": "prompted", "path": "x"}, "transformers"),
        ({"backend": "vllm", "path": "x", "mode": "head"}, "mode head"),
        ({"backend": "vllm", "path": "x", "mode": "prompted"}, "mode prompted"),
        (REMOTE | {"method": "prompted"}, "method prompted"),
    ],
)
def test_engines_that_cannot_say_so(given: dict[str, Any], who: str) -> None:
    said = rf"task\.reasoning: {who} cannot read an answer after reasoning; use backend vllm"
    with pytest.raises(ValidationError, match=said):
        MODEL.validate_python(given | {"task": TASK})


def test_policies_have_no_reasoning() -> None:
    policies = [{"name": "a", "text": "b"}]
    with pytest.raises(ValidationError, match="reasoning: each policy would have"):
        MODEL.validate_python(
            {"backend": "vllm", "path": "x", "task": TASK | {"policies": policies}}
        )


def test_one_reasoning_is_greedy_and_several_are_sampled() -> None:
    assert ReasoningSettings().heat == 0
    assert ReasoningSettings(samples=3).heat == 0.6
    assert ReasoningSettings(samples=3, temperature=1.0).heat == 1
    with pytest.raises(ValidationError, match="temperature: one reasoning is greedy"):
        ReasoningSettings(temperature=1.0)
