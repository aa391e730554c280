"""An engine is compared with the model's own forward pass, which another process computes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.vllm import own_forward
from streamlabel.models.vllm.own_forward import OwnForward, differences, judge, start_own_forward
from streamlabel.models.vllm.plain_forward import Asked, Probabilities, Question
from tests.models.tiny import build_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ROWS = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
WANTED = [3, 4]
TASK = {"labels": [{"name": "a", "answers": ["A"]}, {"name": "b", "answers": ["B"]}]}
PLENTY = 2**40
QUANTISED = {"quantization_config": {"quant_method": "gptq"}}


def settings(folder: Path, **given: object) -> VllmSettings:
    return VllmSettings.model_validate({"path": str(folder), "task": TASK, **given})


def started(
    folder: Path,
    question: Question | None = None,
    *,
    free_bytes: int = PLENTY,
    config: dict[str, Any] | None = None,
    **given: object,
) -> OwnForward:
    chosen = settings(folder, **given)
    checkpoint = open_checkpoint(chosen)
    checkpoint.config.update(config or {})
    asked = Asked(question or Question(ROWS, wanted=WANTED), checkpoint, "float32")
    return start_own_forward(chosen, asked, engine_bytes=2**30, free_bytes=free_bytes)


def reads(found: Callable[[Sequence[int]], torch.Tensor], moved: float = 0.0) -> Any:  # noqa: ANN401
    """Return an engine with these probabilities, the last row's first one moved."""

    async def read(
        rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> Sequence[Probabilities]:
        answers = [
            {place: float(found(row)[place]) for place in places}
            for row, places in zip(rows, wanted, strict=True)
        ]
        answers[-1][wanted[-1][0]] += moved
        return answers

    return read


def run(work: Awaitable[Any]) -> Any:  # noqa: ANN401
    async def wait() -> Any:  # noqa: ANN401
        return await work

    return asyncio.run(wait())


@pytest.fixture(scope="module")
def next_token(tiny_llm: Path) -> Callable[[Sequence[int]], torch.Tensor]:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_llm, dtype=torch.float32, attn_implementation="eager"
    ).eval()

    def probabilities(row: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = model(torch.tensor([list(row)])).logits[0, -1]
        return logits.softmax(-1)

    return probabilities


def test_an_engine_that_computes_the_same_passes(
    tiny_llm: Path, next_token: Callable[[Sequence[int]], torch.Tensor]
) -> None:
    said = started(tiny_llm).prove(run, reads(next_token))
    assert said.startswith("differs by ")
    assert said.endswith(" at most (3 prompts)")


def test_an_engine_that_leaves_something_out_does_not_start(
    tiny_llm: Path, next_token: Callable[[Sequence[int]], torch.Tensor]
) -> None:
    with pytest.raises(ModelLoadError, match="model's own forward pass"):
        started(tiny_llm).prove(run, reads(next_token, 0.02))


@pytest.mark.parametrize(
    ("dtype", "moved", "passes"),
    [
        ("float32", [0.0, 9e-4], True),
        ("float32", [0.0, 2e-3], False),
        ("float32", [0.0, float("nan")], False),
        ("float32", [float("nan"), 0.0], False),
        ("bfloat16", [0.12] + [0.03] * 7, True),
        ("bfloat16", [0.06] * 8, False),
        ("float16", [0.2] + [0.0] * 7, False),
    ],
)
def test_rounding_passes_and_no_more(dtype: str, moved: list[float], *, passes: bool) -> None:
    if passes:
        assert judge(moved, dtype).startswith("differs by ")
        return
    with pytest.raises(ModelLoadError, match="model's own forward pass"):
        judge(moved, dtype)


def test_a_head_is_compared_among_its_labels(
    tiny_llm: Path, next_token: Callable[[Sequence[int]], torch.Tensor]
) -> None:
    def among(row: Sequence[int]) -> torch.Tensor:
        whole = next_token(row)
        return whole / whole[WANTED].sum()

    question = Question(ROWS, "head", WANTED)
    assert started(tiny_llm, question).prove(run, reads(among)).startswith("differs by ")


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_an_encoder_is_compared_by_its_outputs(problem: Any, tmp_path: Path) -> None:  # noqa: ANN401
    folder = build_model(tmp_path / "bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()

    def outputs(row: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = model(torch.tensor([list(row)])).logits[0]
        return logits.softmax(-1) if problem == "single_label" else logits.sigmoid()

    question = Question(ROWS, "outputs", problem_type=problem)
    assert started(folder, question).prove(run, reads(outputs)).startswith("differs by ")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"own_forward": "never"}, "model.own_forward is never"),
        ({"quantization": "fp8"}, "quantised"),
        ({"config": QUANTISED}, "quantised"),
        ({"free_bytes": 2**30}, r"it takes 1\.\d GiB of memory .* 1\.0, and 1\.0 are available"),
    ],
)
def test_what_is_not_compared_says_why(changes: dict[str, Any], why: str, tiny_llm: Path) -> None:
    async def never(*_: object) -> list[Probabilities]:
        raise AssertionError("the engine is not asked")

    own = started(tiny_llm, **changes)
    assert own.prove(run, never).startswith("not compared: ")
    if changes.get("own_forward") != "never":
        with pytest.raises(ModelLoadError, match=rf"model\.own_forward: always, but .*{why}"):
            started(tiny_llm, **changes | {"own_forward": "always"})


@pytest.mark.parametrize("what", ["killed", "another kind of model"])
def test_a_process_that_cannot_answer_is_a_reason(
    what: str, tiny_llm: Path, tmp_path: Path
) -> None:
    async def never(*_: object) -> list[Probabilities]:
        raise AssertionError("the engine is not asked")

    def one(demand: str) -> OwnForward:
        folder = tiny_llm if what == "killed" else build_model(tmp_path / demand)
        own = started(folder, own_forward=demand)
        if what == "killed" and own._process is not None:
            own._process.kill()
        return own

    why = "ended with status -9" if what == "killed" else "language model"
    said = one("auto").prove(run, never)
    assert said.startswith("not compared: ")
    assert why in said
    with pytest.raises(ModelLoadError, match=rf"model\.own_forward: always, but .*{why}"):
        one("always").prove(run, never)


def test_an_engine_that_is_ready_does_not_wait_for_ever(
    tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> list[Probabilities]:
        raise AssertionError("the engine is not asked")

    monkeypatch.setattr(own_forward, "_PATIENCE_S", 0.01)
    own = started(tiny_llm)
    process = own._process
    assert process is not None
    assert "not ready within 0.01 s" in own.prove(run, never)
    assert process.returncode == -9, "it does not go on computing"


def test_an_engine_that_refuses_a_prompt_does_not_start(tiny_llm: Path) -> None:
    async def refuses(*_: object) -> list[Probabilities]:
        raise InferenceError("vLLM refuses this text: ValueError")

    with pytest.raises(ModelLoadError, match="the engine refuses a test prompt"):
        started(tiny_llm).prove(run, refuses)


def test_a_token_that_an_engine_should_have_returned_counts_as_zero() -> None:
    assert differences([{1: 0.5, 2: 0.1}, {3: 0.2}], [{1: 0.5}, {3: 0.25}]) == pytest.approx(
        [0.1, 0.05]
    )


def test_an_engine_that_does_not_start_leaves_no_process(tiny_llm: Path) -> None:
    own = started(tiny_llm)
    process = own._process
    assert process is not None
    own.close()
    assert process.returncode == -9
    own.close()
