"""Two ways to compute and two ways to read a tokenizer, each the same as transformers."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from streamlabel.config.model import EncoderSettings
from streamlabel.models.devices.device import Device
from streamlabel.models.encoder.packed_weights import Unpacked, load_packed
from streamlabel.models.encoder.padded import PaddedForward
from streamlabel.models.encoder.precision import EXACT
from streamlabel.models.encoder.pretrained import load_padded, load_tokenizer
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.files.tokenizer_file import read_tokenizer
from streamlabel.models.tokens.rows import Forward
from tests.models.tiny import PlainTransformers, build_minilm, build_model

pytestmark = pytest.mark.model

CPU = Device("cpu", {})
RNG = np.random.default_rng(3)
# Many of one length, many lengths, the shortest and the longest, beyond one pass of the packed way
LENGTHS = [2, 2, 5, 64, 3, 5, 5, 17, 40, 64, *range(2, 65), *[33] * 40]


def packed(checkpoint: Checkpoint) -> Forward:
    return load_packed(checkpoint, CPU, EXACT)


def padded(checkpoint: Checkpoint) -> Forward:
    return load_padded(checkpoint, CPU, dtype="float32")


def opened(folder: Path) -> Checkpoint:
    return open_checkpoint(EncoderSettings(path=str(folder)))


@pytest.mark.parametrize("make", [packed, padded])
@pytest.mark.parametrize(("activation", "types"), [("gelu", 2), ("gelu_new", 1)])
def test_rows_of_all_lengths_equal_transformers_row_by_row(
    tmp_path: Path, make: Callable[[Checkpoint], Forward], activation: str, types: int
) -> None:
    folder = build_model(tmp_path, hidden_act=activation, type_vocab_size=types)
    rows = [RNG.integers(5, 40, length).astype(np.int32) for length in LENGTHS]
    logits = make(opened(folder)).logits(rows)
    model = PlainTransformers(folder).model
    with torch.inference_mode():
        alone = [model(torch.from_numpy(row[None].astype(np.int64))).logits[0] for row in rows]
    assert logits.dtype == np.float32
    assert np.abs(logits - torch.stack(alone).numpy()).max() < 1e-4


@pytest.mark.parametrize("make", [packed, padded])
def test_one_row_is_a_batch(tmp_path: Path, make: Callable[[Checkpoint], Forward]) -> None:
    forward = make(opened(build_model(tmp_path)))
    assert forward.logits([np.array([2, 3], dtype=np.int32)]).shape == (1, 3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps"),
        ({"hidden_size": "32"}, "hidden_size is '32'"),
        ({"hidden_size": 48}, "weights"),
        ({"num_attention_heads": 5}, "no multiple"),
        ({"model_type": "other"}, "other is none of the packed families"),
        ({"architectures": ["BertForMaskedLM"]}, "bert is none of the packed families"),
        ({"architectures": None}, "bert is none of the packed families"),
        ({"auto_map": {"x": "y"}}, "auto_map"),
    ],
)
def test_what_is_not_a_plain_bert_is_left_to_transformers(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    model = opened(build_model(tmp_path))
    other = Checkpoint(model.folder, model.name, model.config | changes, model.tokenizer_config)
    with pytest.raises(Unpacked, match=why):
        load_packed(other, CPU, EXACT)
    with pytest.raises(Unpacked, match="npu"):
        load_packed(model, Device("npu:0", {}), EXACT)
    load_packed(model, CPU, EXACT)


def test_weights_under_older_names_are_left_to_transformers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = build_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): w
        for name, w in weights.items()
    }
    rows = [np.array([2, 9, 3], dtype=np.int32)]
    before = packed(opened(folder)).logits(rows)
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Unpacked, match="LayerNorm"):
        load_packed(opened(folder), CPU, EXACT)
    assert padded(opened(folder)).logits(rows) == pytest.approx(before, abs=1e-5)


def test_padding_tokens_are_never_seen(tmp_path: Path) -> None:
    checkpoint = opened(build_model(tmp_path))
    forward = padded(checkpoint)
    assert isinstance(forward, PaddedForward)
    rows = [np.arange(5, 5 + n, dtype=np.int32) for n in (3, 8)]
    first = forward.logits(rows)
    forward._pad_id = 7
    assert forward.logits(rows) == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize("build", [build_model, build_minilm])
def test_a_tokenizer_read_directly_is_the_one_transformers_builds(
    tmp_path: Path, build: Callable[[Path], Path]
) -> None:
    checkpoint = opened(build(tmp_path))
    direct = read_tokenizer(checkpoint)
    built, gives_types = load_tokenizer(checkpoint)
    assert gives_types
    assert direct is not None
    texts = ["The match was GOOD!", "caf\u00e9 [MASK] x\x00y 东京 " + "z" * 101, "", "\U0001f600"]
    for text in texts:
        for special in (True, False):
            ours = direct.encode(text, add_special_tokens=special)
            theirs = built.encode(text, add_special_tokens=special)
            assert ours.ids == theirs.ids
            assert ours.offsets == theirs.offsets


@pytest.mark.parametrize(
    "changes",
    [
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"tokenizer_class": "RobertaTokenizer"},
        {"cls_token": "<s>"},
        {"extra_special_tokens": ["<user>"]},
    ],
)
def test_a_tokenizer_that_its_config_changes_is_left_to_transformers(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    model = opened(build_model(tmp_path))
    assert read_tokenizer(model) is not None
    other = Checkpoint(model.folder, model.name, model.config, model.tokenizer_config | changes)
    assert read_tokenizer(other) is None


def test_a_plain_bert_loads_without_importing_transformers(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    script = (
        "import os, sys; from streamlabel.config.model import EncoderSettings;"
        "from streamlabel.models.encoder.classifier import load;"
        "assert 'torch' not in sys.modules;"
        f"load(EncoderSettings(path={str(folder)!r}, device='cpu'));"
        "assert 'transformers' not in sys.modules;"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_row_on_which_the_model_overflows_spoils_no_other_row(tmp_path: Path) -> None:
    """Keys are also read from the row before, and a masked score that is no number is none."""
    from safetensors.torch import load_file, save_file

    folder = build_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][7] = 3e38  # finite, its variance is not
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rows = [np.full(length, 9, dtype=np.int32) for length in (20, 25, 26, 27, 27, 40)]
    rows[2][3] = rows[4][26] = 7
    logits = packed(opened(folder)).logits(rows)
    is_finite = np.isfinite(logits).all(axis=-1).tolist()
    assert is_finite == [True, True, False, True, False, True]
    healthy = [row for row, is_fine in zip(rows, is_finite, strict=True) if is_fine]
    assert np.allclose(logits[is_finite], packed(opened(folder)).logits(healthy), atol=1e-5)
