"""Which type the products are computed in, and what that does to probabilities."""

import asyncio
import itertools
import json
import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.model import EncoderSettings
from streamlabel.config.named_model import PrecisionHint
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import probabilities
from streamlabel.models.devices import compute_type
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.devices.device import Device
from streamlabel.models.encoder import classifier as encoder
from streamlabel.models.encoder import loading as encoder_loading
from streamlabel.models.encoder import matrix_products as products
from streamlabel.models.encoder.precision import (
    CAREFUL_DIFFERENCE,
    EXACT,
    Precision,
    Probes,
    choose_precision,
    probe_rows,
    worst_difference,
)
from streamlabel.models.tokens.rows import Forward, Rows
from tests.models.tiny import build_minilm, build_model

pytestmark = pytest.mark.model

ROWS = probe_rows(1000, (2,), (3,))


class Constant:
    """Answers every row with the same logits."""

    def __init__(self, *logits: float) -> None:
        self._logits = logits

    def logits(
        self, rows: Rows, types: object = None
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Return (R, 2)."""
        return np.array([self._logits] * len(rows), dtype=np.float32)


HALF, MIXED = Precision("bfloat16"), Precision("bfloat16", exact_layers=1)


def choose(**models: Forward) -> tuple[Forward, Precision]:
    ways = {"exact": EXACT, "half": HALF, "mixed": MIXED}
    load = {ways[name]: model for name, model in models.items()}
    faster = [way for way in load if way != EXACT]
    chosen = choose_precision(load.__getitem__, faster, lambda: Probes(ROWS), "single_label")
    return chosen.forward, chosen.way


def test_a_close_answer_is_enough_for_the_faster_way() -> None:
    fast = Constant(1.05, 0.0)  # a probability in doubt moves by 0.0125
    found = choose(exact=Constant(1.0, 0.0), half=fast, mixed=Constant(1.0, 0.0))
    assert found == (fast, HALF)


def test_what_is_too_far_off_gives_way_to_the_next_closer_one() -> None:
    mixed = Constant(1.01, 0.0)
    assert choose(exact=Constant(1.0, 0.0), half=Constant(1.08, 0.0), mixed=mixed)[0] is mixed


@pytest.mark.parametrize("logit", [1.2, float("nan")])
def test_if_all_are_too_far_off_float32_stays(logit: float) -> None:
    exact = Constant(1.0, 0.0)
    assert choose(exact=exact, half=Constant(logit, 0.0)) == (exact, EXACT)


def test_without_a_faster_way_float32_stays() -> None:
    exact = Constant(1.0, 0.0)
    assert choose(exact=exact) == (exact, EXACT)


def test_certain_answers_do_not_hide_how_far_logits_moved() -> None:
    certain, moved = np.array([[20.0, 0.0]]), np.array([[20.4, 0.0]])
    apart = probabilities(certain, "single_label") - probabilities(moved, "single_label")
    assert np.abs(apart).max() < 1e-6
    assert worst_difference(certain, moved, "single_label") == pytest.approx(0.1)


def test_item_9_real_texts_are_judged_by_their_probabilities_and_the_reason_is_said() -> None:
    # certain answers: the logits move far, the probabilities hardly
    load = {EXACT: Constant(6.0, 0.0), HALF: Constant(6.2, 0.0)}
    random = choose_precision(load.__getitem__, [HALF], lambda: Probes(ROWS), "single_label")
    assert random.way == EXACT
    assert "on 256 rows of random tokens bfloat16 by up to 0.0500, 0.015 is allowed" in random.why
    assert "Calibrate to have it judged on real texts" in random.why
    real = choose_precision(
        load.__getitem__, [HALF], lambda: Probes(ROWS, are_real=True), "single_label"
    )
    assert real.way == HALF
    assert real.difference == pytest.approx(0.0004, abs=1e-4)
    assert "bfloat16: on 256 rows of real texts a probability differs from float32" in real.why
    far = {EXACT: Constant(0.1, 0.0), HALF: Constant(0.3, 0.0)}
    kept = choose_precision(
        far.__getitem__, [HALF], lambda: Probes(ROWS, are_real=True), "single_label"
    )
    assert (kept.way, kept.difference) == (EXACT, 0.0)


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (PrecisionHint(("good", "bad stock", "the good match .")), "3 rows of real texts"),
        (PrecisionHint(), "rows of random tokens"),
        (PrecisionHint((), "float32", 0, "cpu"), "float32: as when the calibration was made"),
        (PrecisionHint((), "float32", 0, "cuda"), "rows of random tokens"),  # another device
    ],
)
def test_item_9_a_model_is_judged_on_the_texts_that_its_settings_carry(
    tmp_path: Path, hint: PrecisionHint, said: str
) -> None:
    folder = build_model(tmp_path, labels=("good", "bad"))
    settings = EncoderSettings(path=str(folder), device="cpu", dtype="auto").hinted(hint)
    model = encoder.load(pickle.loads(pickle.dumps(settings)))  # noqa: S301 as to the worker
    asyncio.run(model.close())
    if fastest_precision() == "float32" and "calibration" not in said:
        assert "no faster precision" in model.identity.details["precision"]
    else:
        assert said in model.identity.details["precision"]


@pytest.mark.parametrize("problem_type", ["single_label", "multi_label"])
def test_no_probability_differs_more_than_the_logits_allow(problem_type: ProblemType) -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(0, 3, (500, 4))
    other = one + rng.normal(0, 0.2, one.shape)
    moved = np.abs(probabilities(one, problem_type) - probabilities(other, problem_type)).max()
    assert 0.01 < moved <= worst_difference(one, other, problem_type)


def test_a_common_shift_of_all_logits_is_no_difference_between_labels() -> None:
    one = np.array([[1.0, 2.0]])
    assert worst_difference(one, one + 5, "single_label") == 0
    assert worst_difference(one, one + 4, "multi_label") == 1


@pytest.mark.parametrize(
    ("kind", "fastest", "ways"),
    [
        ("cpu", "float32", 0),
        ("cpu", "bfloat16", 2),
        ("cuda", "float32", 0),
        ("cuda", "bfloat16", 1),
    ],
)
def test_ways_are_tried_that_are_fast_on_the_device(
    monkeypatch: pytest.MonkeyPatch, kind: str, fastest: str, ways: int
) -> None:
    monkeypatch.setattr(encoder_loading, "fastest_precision", lambda _kind: fastest)
    assert len(encoder_loading.faster_ways(Device(kind, {}))) == ways


@pytest.mark.parametrize(
    ("has_it", "exact_s", "half_s", "fastest"),
    [
        (True, 4.0, 1.0, "bfloat16"),  # AMX
        (True, 2.0, 1.0, "bfloat16"),
        (True, 1.05, 1.0, "float32"),  # too close to be the same at the next start
        (True, 0.6, 1.0, "float32"),  # AVX512-BF16 of a virtual machine whose host hides AMX
        (False, 4.0, 1.0, "float32"),
    ],
)
def test_the_fastest_type_of_a_processor_is_timed(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, exact_s: float, half_s: float, fastest: str
) -> None:
    noise = itertools.cycle([1.0, 5.0, 1.5])  # what else runs
    took_s = {torch.float32: exact_s, torch.bfloat16: half_s}
    monkeypatch.setattr(compute_type, "has_bfloat16", lambda: has_it)
    monkeypatch.setattr(compute_type, "_product_s", lambda kind: took_s[kind] * next(noise))
    compute_type._fastest_on_cpu.cache_clear()
    try:
        assert fastest_precision() == fastest
    finally:
        compute_type._fastest_on_cpu.cache_clear()


def test_the_fastest_type_is_the_same_when_it_is_timed_again() -> None:
    first = fastest_precision()
    compute_type._fastest_on_cpu.cache_clear()
    assert fastest_precision() == first


@pytest.mark.parametrize(("has_it", "fastest"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_only_emulates_bfloat16_uses_float32(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, fastest: str
) -> None:
    def supported(*, including_emulation: bool) -> bool:
        return has_it or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert fastest_precision("cuda") == fastest


def test_minilm_in_the_type_of_this_machine_answers_as_in_float32(tmp_path: Path) -> None:
    folder = str(build_minilm(tmp_path))
    exact = encoder.load(EncoderSettings(path=folder, device="cpu"))
    careful = encoder.load(EncoderSettings(path=folder, device="cpu", dtype="auto"))
    assert careful.identity.dtype == fastest_precision()

    async def ask(model: encoder.EncoderClassifier) -> list[tuple[float, ...]]:
        texts = ["good", "a longer text about the weather in spring", "x " * 300]
        prepared = await model.prepare(texts)
        answers = await model.classify([row for row in prepared if isinstance(row, PreparedText)])
        await model.close()
        return [each.probabilities or () for each in answers if isinstance(each, Prediction)]

    one, other = asyncio.run(ask(exact)), asyncio.run(ask(careful))
    assert len(one) == len(other) == 3
    assert np.abs(np.array(one) - np.array(other)).max() <= CAREFUL_DIFFERENCE


@pytest.mark.parametrize("activation", [None, *get_args(products.Activation)])
@pytest.mark.parametrize("rows", [1, 7, 1024])
def test_a_laid_out_weight_gives_the_plain_product(
    activation: products.Activation | None, rows: int
) -> None:
    torch.manual_seed(1)
    weight, bias, x = torch.randn(96, 48), torch.randn(96), torch.randn(rows, 48)
    with torch.inference_mode():
        fast = products.laid_out(weight, bias, torch.float32)
        assert isinstance(fast, products.LaidOut)
        plain = products.Plain(weight, bias)(x, activation)
        assert torch.allclose(fast(x, activation), plain, atol=1e-4)
        half = products.laid_out(weight, bias, torch.bfloat16)(x, activation)
        assert half.dtype == torch.bfloat16
        assert torch.allclose(half.float(), plain, atol=0.3)


def test_without_the_operator_the_product_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    product = products.laid_out(torch.ones(2, 3), torch.zeros(2), torch.bfloat16)
    assert isinstance(product, products.Plain)
    assert product(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]


def test_item_9_every_command_says_which_way_was_taken_and_a_calibration_keeps_it(
    tmp_path: Path,
) -> None:
    folder = build_model(tmp_path / "model", labels=("good", "bad"))
    rows = [{"text": f"good match {i}", "label": ("good", "bad")[i % 2]} for i in range(60)]
    data = tmp_path / "dev.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = [f"model.{name}" for name in ("backend=encoder", f"path={folder}", "dtype=auto")]
    options = [part for setting in (*model, "model.device=cpu") for part in ("--set", setting)]

    def run(command: str, *rest: str) -> str:
        done = CliRunner().invoke(app, [command, *options, *rest])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    is_fast = fastest_precision() == "bfloat16"
    judged = "on 60 rows of real texts" if is_fast else "this device has no faster precision"
    made = tmp_path / "c.yaml"
    assert judged in run("calibrate", "--data", str(data), "-o", str(made))
    file = CalibrationFile.read(made)
    assert file.precision is not None
    assert file.precision.tolerance is not None
    assert file.precision.tolerance <= CAREFUL_DIFFERENCE
    used = ("--set", f"routing.calibration={made}")
    files = ("-f", str(data), "-o", str(tmp_path / "out.jsonl"))
    assert judged in run("classify", *files)
    assert f"{file.model.dtype}: as when the calibration was made" in run("classify", *files, *used)
