"""Which type the products are computed in, and what that does to probabilities."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

from streamlabel.config.model import EncoderSettings
from streamlabel.models import encoder, precision, products
from streamlabel.models.base import Prediction, PreparedText
from streamlabel.models.devices import Device
from streamlabel.models.fit_settings import fastest_precision
from streamlabel.models.precision import CAREFUL_DIFFERENCE, choose_precision, probe_rows
from streamlabel.models.rows import Forward, Rows
from tests.models.tiny import build_minilm

pytestmark = pytest.mark.model

CPU = Device("cpu", {})
ROWS = probe_rows(1000, (2,), (3,))


class Constant:
    """Answers every row with the same logits."""

    def __init__(self, *logits: float) -> None:
        self._logits = logits

    def logits(self, rows: Rows) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Return (R, 2)."""
        return np.array([self._logits] * len(rows), dtype=np.float32)


def choose(
    monkeypatch: pytest.MonkeyPatch, fast: Forward, *, fastest: str, device: Device = CPU
) -> tuple[Forward, str]:
    monkeypatch.setattr(precision, "fastest_precision", lambda: fastest)
    models: dict[str, Forward] = {"float32": Constant(1.0, 0.0), "bfloat16": fast}
    return choose_precision(models.__getitem__, device, ROWS, "single_label")


def test_a_close_answer_is_enough_for_the_faster_type(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Constant(1.05, 0.0)  # a probability moves by 0.01
    assert choose(monkeypatch, fast, fastest="bfloat16") == (fast, "bfloat16")


@pytest.mark.parametrize("logit", [1.2, float("nan")])
def test_an_answer_too_far_off_keeps_float32(monkeypatch: pytest.MonkeyPatch, logit: float) -> None:
    _, dtype = choose(monkeypatch, Constant(logit, 0.0), fastest="bfloat16")
    assert dtype == "float32"


def test_a_cpu_that_is_slow_in_bfloat16_stays_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    same = Constant(1.0, 0.0)
    assert choose(monkeypatch, same, fastest="float32")[1] == "float32"
    cuda = Device("cuda:0", {})
    assert choose(monkeypatch, same, fastest="float32", device=cuda)[1] == "bfloat16"


def test_minilm_in_the_type_of_this_machine_answers_as_in_float32(tmp_path: Path) -> None:
    folder = str(build_minilm(tmp_path))
    exact = encoder.load(EncoderSettings(path=folder, device="cpu"))
    careful = encoder.load(EncoderSettings(path=folder, device="cpu", dtype="auto"))
    assert careful.info.dtype == fastest_precision()

    async def ask(model: encoder.EncoderClassifier) -> list[tuple[float, ...]]:
        texts = ["good", "a longer text about the weather in spring", "x " * 300]
        prepared = await model.prepare(texts)
        answers = await model.classify([row for row in prepared if isinstance(row, PreparedText)])
        await model.close()
        return [each.probabilities or () for each in answers if isinstance(each, Prediction)]

    one, other = asyncio.run(ask(exact)), asyncio.run(ask(careful))
    assert len(one) == len(other) == 3
    assert np.abs(np.array(one) - np.array(other)).max() <= CAREFUL_DIFFERENCE


@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
@pytest.mark.parametrize("rows", [1, 7, 1024])
def test_a_laid_out_weight_gives_the_plain_product(gelu: str | None, rows: int) -> None:
    torch.manual_seed(1)
    weight, bias, x = torch.randn(96, 48), torch.randn(96), torch.randn(rows, 48)
    with torch.inference_mode():
        fast = products.laid_out(weight, bias, torch.float32)
        assert isinstance(fast, products.LaidOut)
        plain = products.Plain(weight, bias)(x, gelu)
        assert torch.allclose(fast(x, gelu), plain, atol=1e-4)
        half = products.laid_out(weight, bias, torch.bfloat16)(x, gelu)
        assert half.dtype == torch.bfloat16
        assert torch.allclose(half.float(), plain, atol=0.3)


def test_without_the_operator_the_product_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    product = products.laid_out(torch.ones(2, 3), torch.zeros(2), torch.bfloat16)
    assert isinstance(product, products.Plain)
    assert product(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]
