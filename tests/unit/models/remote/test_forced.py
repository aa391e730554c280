"""Answers of several tokens, and after a beginning: read token by token from the endpoint."""

import itertools
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
TURN = itertools.count()  # a server draws anew for each of four samples


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
    if "stop_token_ids" in request:
        return written(tokens, request)
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


def written(prompt: tuple[int, ...], request: dict[str, Any]) -> Reply:
    """Continue a prompt: the most probable character each time; sampled ones with a temperature."""
    order = random.Random(request["seed"] if "seed" in request else next(TURN) % 4)
    tokens: list[int] = []
    why, stopped_at = "length", None
    while len(tokens) < request["max_tokens"]:
        odds = chances((*prompt, *tokens))
        best = max(range(CHARACTERS), key=odds.__getitem__)
        heat = request["temperature"]
        tokens.append(order.choices(range(CHARACTERS), odds)[0] if heat else best)
        if tokens[-1] in request["stop_token_ids"]:
            why, stopped_at = "stop", tokens[-1]
            break
    choice = {"index": 0, "text": "x", "token_ids": tokens}
    return Reply({"choices": [choice | {"finish_reason": why, "stop_reason": stopped_at}]})


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


THINKS = TASK | {"reasoning": {"max_tokens": 6, "begin": "<", "end": ">: "}}


def own_answer(samples: int, heat: float, limit: int) -> tuple[list[float], bool]:
    """Return the mean probability of each label after reasoning, and whether one was cut."""
    sums = [0.0, 0.0]
    is_cut = False
    begun = tuple(map(ord, "user|hello|model|<"))
    for seed in range(samples):
        request = {"seed": seed, "temperature": heat, "max_tokens": limit}
        reply = written(begun, request | {"stop_token_ids": [ord(">")]}).body
        assert isinstance(reply, dict)
        tokens = reply["choices"][0]["token_ids"]
        is_cut |= tokens[-1] != ord(">")
        tokens = tokens if tokens[-1] != ord(">") else tokens[:-1]
        prompt = (*begun, *tokens, *map(ord, ">: Verdict: "))

        def probability(answer: str, prompt: tuple[int, ...] = prompt) -> float:
            return math.prod(
                chances((*prompt, *map(ord, answer[:place])))[ord(each)]
                for place, each in enumerate(answer)
            )

        sums[0] += probability("safe") / samples
        sums[1] += (probability("unsafe") + probability("UNSAFE")) / samples
    return sums, is_cut


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("limit", [6, 300])
async def test_an_answer_after_reasoning_is_the_one_given_it(samples: int, limit: int) -> None:
    reasoning = THINKS["reasoning"] | {"samples": samples, "max_tokens": limit}  # type: ignore[operator] # a dict
    task = THINKS | {"reasoning": reasoning}
    with Endpoint(served) as endpoint:
        classifier = await opened(endpoint, task=task)
        (outcome,) = await ask(classifier, ["hello"])
        await classifier.close()
    own, is_cut = own_answer(samples, 0.6 if samples > 1 else 0.0, limit)
    assert isinstance(outcome, Prediction)
    assert outcome.probabilities == pytest.approx([each / sum(own) for each in own], abs=1e-9)
    assert outcome.off_label_mass == pytest.approx(1 - sum(own), abs=1e-9)
    assert outcome.after_reasoning is True
    assert outcome.reasoning_cut is is_cut
    assert is_cut is (limit == 6), "both kinds are tried"
    assert 0 < (outcome.reasoning_tokens or 0) <= limit
    assert outcome.review_reasons == ()


async def test_a_reasoning_that_never_ends_goes_to_review_if_that_is_wished() -> None:
    reasoning = THINKS["reasoning"] | {"when_cut": "review"}  # type: ignore[operator] # a dict
    with Endpoint(served) as endpoint:
        classifier = await opened(endpoint, task=THINKS | {"reasoning": reasoning})
        (outcome,) = await ask(classifier, ["hello"])
        await classifier.close()
    assert isinstance(outcome, Prediction)
    assert outcome.review_reasons == ("reasoning_cut",)


async def test_the_budget_is_part_of_the_prompts_version() -> None:
    versions = set()
    with Endpoint(served) as endpoint:
        for limit in (5, 6):
            reasoning = THINKS["reasoning"] | {"max_tokens": limit}  # type: ignore[operator] # a dict
            classifier = await opened(endpoint, task=THINKS | {"reasoning": reasoning})
            versions.add(classifier.identity.prompt_version)
            await classifier.close()
    assert len(versions) == 2


async def test_an_endpoint_that_keeps_its_tokens_is_refused() -> None:
    def behave(request: dict[str, Any]) -> Reply:
        if "stop_token_ids" in request:
            return Reply({"choices": [{"index": 0, "text": "hm", "finish_reason": "stop"}]})
        return served(request)

    said = r"no tokens of the completion .*model\.task\.reasoning needs an endpoint .* with vLLM"
    with Endpoint(behave) as endpoint, pytest.raises(ModelLoadError, match=said):
        await opened(endpoint, task=THINKS, outage_timeout_s=0.3, max_tries=1)
