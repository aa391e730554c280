"""Answers of several tokens, and after a beginning: read token by token from the endpoint."""

import json
import math
import random
from typing import Any

import pytest

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from tests.endpoint import Endpoint, Reply
from tests.unit.models.remote.test_classifier import ask, opened

LABELS = {"labels": [{"name": "safe"}, {"name": "unsafe", "answers": ["unsafe", "UNSAFE"]}]}
TASK = LABELS | {"scoring": "trie", "answer_prefix": "Verdict: ", "prompt": "verbatim"}
CHARACTERS = 128


def chances(context: tuple[int, ...]) -> list[float]:
    """Return a distribution of the next character, which depends on all before."""
    order = random.Random(json.dumps(context))
    weights = [order.random() ** 8 for _ in range(CHARACTERS)]
    return [weight / sum(weights) for weight in weights]


def served(request: dict[str, Any]) -> Reply:
    """Answer as vLLM's server does, for a model whose tokens are characters."""
    if "messages" in request:
        assert request["add_generation_prompt"]
        chat = "".join(f"{turn['role']}|{turn['content']}|" for turn in request["messages"])
        return Reply({"tokens": [ord(each) for each in chat + "model|"]})
    if "tokens" in request:
        return Reply({"prompt": "".join(map(chr, request["tokens"]))})
    if isinstance(request["prompt"], str):
        return Reply({"tokens": [ord(each) for each in request["prompt"]]})
    tokens = tuple(request["prompt"])
    rows: list[Any] = [None]
    for place in range(1, len(tokens)):
        odds = chances(tokens[:place])
        best = max(range(CHARACTERS), key=odds.__getitem__)
        rows.append(
            {
                str(each): {"logprob": math.log(odds[each]), "decoded_token": chr(each)}
                for each in (best, tokens[place])
            }
        )
    return Reply({"choices": [{"index": 0, "text": "x", "prompt_logprobs": rows}]})


async def test_the_product_over_an_answers_tokens_is_its_probability() -> None:
    with Endpoint(served) as endpoint:
        classifier = await opened(endpoint, task=TASK)
        (outcome,) = await ask(classifier, ["hello"])
        await classifier.close()
    prompt = tuple(map(ord, "user|hello|model|Verdict: "))

    def probability(answer: str) -> float:
        return math.prod(
            chances((*prompt, *map(ord, answer[:place])))[ord(each)]
            for place, each in enumerate(answer)
        )

    own = [probability("safe"), probability("unsafe") + probability("UNSAFE")]
    assert isinstance(outcome, Prediction)
    assert outcome.probabilities == pytest.approx([each / sum(own) for each in own], abs=1e-9)
    assert outcome.off_label_mass == pytest.approx(1 - sum(own), abs=1e-9)
    assert outcome.argmax_is_label is False
    assert outcome.off_label_token == chr(max(range(128), key=chances(prompt).__getitem__))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda _: Reply(status=404), "status 404"),
        (
            lambda request: Reply({"tokens": "x"}) if "messages" in request else served(request),
            "no tokens",
        ),
        (
            lambda request: Reply({"prompt": "other"}) if "tokens" in request else served(request),
            "has other tokens",
        ),
        (
            lambda request: (
                Reply({"choices": [{"text": "x"}]})
                if isinstance(request.get("prompt"), list)
                else served(request)
            ),
            "no log-probabilities of the prompt",
        ),
    ],
)
async def test_an_endpoint_without_tokens_is_refused(reply: Any, said: str) -> None:  # noqa: ANN401 a behaviour
    with Endpoint(reply) as endpoint, pytest.raises(ModelLoadError, match=said):
        await opened(endpoint, task=TASK, outage_timeout_s=0.3, max_tries=1)


async def test_answers_of_which_one_begins_another_are_refused() -> None:
    task = TASK | {"labels": [{"name": "New"}, {"name": "New York"}]}
    with Endpoint(served) as endpoint, pytest.raises(ConfigError, match="beginning of another"):
        await opened(endpoint, task=task)
