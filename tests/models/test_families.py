"""The packed forward of every family computes what transformers computes, or is not used."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
import torch
import transformers

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.devices.compute_type import has_bfloat16
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.encoder import packed_weights
from streamlabel.models.encoder.classifier import EncoderClassifier, load
from streamlabel.models.encoder.families import ACTIVATIONS, FAMILIES, Family
from streamlabel.models.encoder.packed_layers import count_places
from streamlabel.models.encoder.packed_proof import proof_rows
from streamlabel.models.encoder.packed_weights import load_packed
from streamlabel.models.encoder.precision import EXACT, Precision
from streamlabel.models.encoder.pretrained import load_padded
from streamlabel.models.encoder.weight_shapes import read_sizes, weight_shapes
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.tokens.rows import Forward, Rows
from testing.plain_varlen import plain_kernel
from tests.models.tiny import LABELS, PlainTransformers, build_model

pytestmark = [
    pytest.mark.model,
    # transformers' own code, not ours
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]

CPU = Device("cpu", {})
KINDS = {name: name.removesuffix("ForSequenceClassification") for name in FAMILIES}
by_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=KINDS.values())
# What a family's config.json has to say, besides sizes.
NEEDED: dict[str, dict[str, object]] = {
    "DebertaV2": {
        "relative_attention": True,
        "position_buckets": 32,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    # ids of special tokens that the tiny vocabulary has
    "ModernBert": {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3},
}
# Beyond the widths at which attention by distance changes, see packed_proof.
POSITIONS = 200
TEXTS = [
    "good match",
    "a",
    "",
    "the rain is bad!",
    "[SEP] good [PAD] [MASK]",
    "the " * 61,
    "stocks",
]


def build(folder: Path, kind: str, **config: object) -> Path:
    return build_model(folder, kind, labels=LABELS, **(NEEDED.get(kind, {}) | config))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take most of the time with models that are this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each family, by its architecture."""
    root = tmp_path_factory.mktemp("families")
    return {
        name: build(root / kind, kind, max_position_embeddings=POSITIONS)
        for name, kind in KINDS.items()
    }


def opened(folder: Path) -> Checkpoint:
    return open_checkpoint(EncoderSettings(path=str(folder)))


def longest(family: Family, config: dict[str, object]) -> int:
    """Return the longest row, given that positions may be counted from that of the padding."""
    if family.padding is None:
        return POSITIONS
    padding = family.padding if family.is_padding_fixed else int(str(config["pad_token_id"]))
    return POSITIONS - padding - 1


def random_rows(limit: int) -> Rows:
    """One token, many of one length, all kinds of tokens, the longest, more than one pass."""
    rng = np.random.default_rng(3)
    lengths = [1, 2, 2, limit, 5, 1, limit, 3, *range(2, 40, 3), *[33] * 25, limit - 1]
    return [rng.integers(0, 40, length).astype(np.int32) for length in lengths]


def one_by_one(folder: Path, rows: Rows) -> Floats:
    model = PlainTransformers(folder).model
    with torch.inference_mode():
        alone = [model(torch.from_numpy(row[None].astype(np.int64))).logits[0] for row in rows]
    return torch.stack(alone).numpy()


@by_family
def test_rows_of_all_lengths_equal_transformers_row_by_row(
    folders: dict[str, Path], family: Family
) -> None:
    checkpoint = opened(folders[family.architecture])
    rows = random_rows(longest(family, checkpoint.config))
    right = one_by_one(checkpoint.folder, rows)
    found = load_packed(checkpoint, CPU, EXACT).logits(rows)
    assert np.ptp(right, axis=0).min() > 1  # the rows differ, or equality would say nothing
    assert np.abs(found - right).max() < 5e-4  # with logits up to 10


@by_family
@pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 on this processor")
def test_bfloat16_is_as_close_to_float32_as_that_of_transformers(
    folders: dict[str, Path], family: Family
) -> None:
    checkpoint = opened(folders[family.architecture])
    rows = random_rows(longest(family, checkpoint.config))
    right = one_by_one(checkpoint.folder, rows)

    def average(forward: Forward) -> float:
        return float(np.abs(forward.logits(rows) - right).mean())

    theirs = average(load_padded(checkpoint, CPU, dtype="bfloat16"))
    assert average(load_packed(checkpoint, CPU, Precision("bfloat16"))) < theirs
    assert average(load_packed(checkpoint, CPU, Precision("bfloat16", exact_layers=2))) < 0.1


@pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 on this processor")
@pytest.mark.parametrize("kind", ["Roberta", "ModernBert"])
def test_attention_of_all_rows_at_once_computes_the_same(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As on a device, whose kernel a plain one stands for."""
    checkpoint = opened(folders[f"{kind}ForSequenceClassification"])
    rows = random_rows(100)
    way = Precision("bfloat16")
    right = load_packed(checkpoint, CPU, way).logits(rows)
    calls: list[int] = []

    def counted(*args: torch.Tensor, max_q: int, **others: object) -> torch.Tensor:
        calls.append(max_q)
        return plain_kernel(*args, max_q=max_q, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_weights, "_kernel_for", lambda *_: counted)
    found = load_packed(checkpoint, CPU, way).logits(rows)
    assert {1, 100} <= set(calls)
    assert np.abs(found - right).max() < 0.1  # bfloat16, with logits up to 10


@pytest.mark.parametrize(
    ("kind", "device", "why"),
    [
        ("Roberta", "npu:0", "for which no packed way is known"),
        ("MPNet", "cuda:0", "attention of mpnet"),
        ("DebertaV2", "cuda:0", "attention of deberta-v2"),
    ],
)
def test_what_a_device_cannot_compute_packed_is_padded(
    folders: dict[str, Path], kind: str, device: str, why: str
) -> None:
    checkpoint = opened(folders[f"{kind}ForSequenceClassification"])
    with pytest.raises(packed_weights.Unpacked, match=why):
        load_packed(checkpoint, Device(device, {}), EXACT)


def test_a_kernel_that_differs_is_not_used(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = opened(folders["RobertaForSequenceClassification"])
    monkeypatch.setattr(
        packed_weights, "_kernel_for", lambda *_: lambda q, *_args, **_named: torch.zeros_like(q)
    )
    with pytest.raises(packed_weights.Unpacked, match="attention of variable lengths differs"):
        load_packed(checkpoint, CPU, Precision("bfloat16"))


@pytest.mark.parametrize(
    "family",
    [family for family in FAMILIES.values() if "positions" in family.parts],
    ids=lambda family: family.model_type,
)
def test_a_row_that_is_too_long_fails_as_with_transformers(
    folders: dict[str, Path], family: Family
) -> None:
    checkpoint = opened(folders[family.architecture])
    limit = longest(family, checkpoint.config)
    rows = [np.full(limit + 1, 9, dtype=np.int32)]
    for forward in (
        load_packed(checkpoint, CPU, EXACT),
        load_padded(checkpoint, CPU, dtype="float32"),
    ):
        with (
            pytest.raises(InferenceError, match=r"out of (range|bounds)|must match"),
            device_errors(CPU),
        ):
            forward.logits(rows)


@pytest.mark.parametrize(
    ("family", "activation"),
    [(FAMILIES["BertForSequenceClassification"], activation) for activation in ACTIVATIONS]
    + [(family, "relu") for family in FAMILIES.values()],
    ids=lambda value: getattr(value, "model_type", value),
)
def test_every_activation_of_the_table_is_that_of_transformers(
    tmp_path: Path, family: Family, activation: str
) -> None:
    if activation not in transformers.activations.ACT2FN:
        pytest.skip("not in this version of transformers")
    folder = build(tmp_path, KINDS[family.architecture], **{family.activation: activation})
    rows = random_rows(20)
    found = load_packed(opened(folder), CPU, EXACT).logits(rows)
    assert np.abs(found - one_by_one(folder, rows)).max() < 5e-4


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Roberta", {"pad_token_id": 5}),
        ("Roberta", {"type_vocab_size": 1, "layer_norm_eps": 1e-3}),
        ("XLMRoberta", {"id2label": {"0": "spam"}, "label2id": {"spam": 0}}),
        ("Electra", {"embedding_size": 16}),
        ("Electra", {"embedding_size": 32}),  # the hidden size: nothing is projected
        ("MPNet", {"pad_token_id": 7}),
        ("DistilBert", {"sinusoidal_pos_embds": True}),
        ("Bert", {"num_hidden_layers": 1}),
        ("DebertaV2", {"position_buckets": 8, "pos_att_type": "c2p|p2c"}),
        ("DebertaV2", {"position_buckets": 256, "num_hidden_layers": 1}),
        ("ModernBert", {"classifier_pooling": "mean", "local_attention": 16}),
        ("ModernBert", {"classifier_pooling": "mean", "num_hidden_layers": 1}),
        ("ModernBert", {"local_attention": 7, "num_hidden_layers": 4}),
        ("ModernBert", {"global_attn_every_n_layers": 2, "num_hidden_layers": 3}),
        ("ModernBert", {"layer_types": ["sliding_attention"] * 2, "local_attention": 8}),
        (
            "ModernBert",
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "default", "rope_theta": 100.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
                }
            },
        ),
    ],
)
def test_what_config_json_may_say_is_computed_as_it_says(
    tmp_path: Path, kind: str, config: dict[str, object]
) -> None:
    family = next(family for name, family in FAMILIES.items() if KINDS[name] == kind)
    labels = None if "id2label" in config else LABELS
    folder = build_model(tmp_path, kind, labels=labels, **(NEEDED.get(kind, {}) | config))
    rows = random_rows(50)
    found = load_packed(opened(folder), CPU, EXACT).logits(rows)
    assert np.abs(found - one_by_one(folder, rows)).max() < 5e-4
    assert family.model_type == opened(folder).config["model_type"]


@by_family
def test_names_shapes_and_defaults_are_those_of_transformers(family: Family) -> None:
    needed = NEEDED.get(KINDS[family.architecture], {})
    with torch.device("meta"):
        architecture = getattr(transformers, family.architecture)
        model = architecture(architecture.config_class(**needed))
    theirs = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    assert weight_shapes(family, read_sizes(family, needed)) == theirs


async def answers(classifier: EncoderClassifier) -> list[tuple[float, ...]]:
    try:
        prepared = await classifier.prepare(TEXTS)
        found = await classifier.classify([t for t in prepared if isinstance(t, PreparedText)])
    finally:
        await classifier.close()
    return [each.log_scores or () for each in found if isinstance(each, Prediction)]


def assert_as_transformers(folder: Path, classifier: EncoderClassifier) -> None:
    plain = PlainTransformers(folder)
    found = asyncio.run(answers(classifier))
    assert found == [pytest.approx(plain.logits(text)[0].tolist(), abs=1e-3) for text in TEXTS]


@by_family
def test_a_family_is_loaded_packed_after_a_proof(folders: dict[str, Path], family: Family) -> None:
    folder = folders[family.architecture]
    with structlog.testing.capture_logs() as logs:
        classifier = load(EncoderSettings(path=str(folder), device="cpu", threads=1))
    assert classifier.identity.details["forward"] == "packed"
    assert not classifier.hints.pads
    proofs = [log for log in logs if log["event"] == "packed_forward_proven"]
    assert len(proofs) == (0 if family.is_proven else 1)
    assert_as_transformers(folder, classifier)


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_a_faster_precision_is_proven_in_float32_and_once(tmp_path: Path, dtype: str) -> None:
    folder = build_model(tmp_path, "Roberta")
    with structlog.testing.capture_logs() as logs:
        settings = EncoderSettings.model_validate(
            {"path": str(folder), "device": "cpu", "threads": 1, "dtype": dtype}
        )
        classifier = load(settings)
    assert classifier.identity.details["forward"] == "packed"
    assert [log["event"] for log in logs].count("packed_forward_proven") == 1
    assert len(asyncio.run(answers(classifier))) == len(TEXTS)


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        ("Roberta", {"hidden_act": "mish"}, "hidden_act is 'mish'"),
        (
            "MPNet",
            {"relative_attention_num_buckets": 40, "max_position_embeddings": 66},
            "relative_attention_num_buckets is 40",
        ),
        ("DebertaV2", {"conv_kernel_size": 3}, "conv_kernel_size is 3"),
        ("DebertaV2", {"share_att_key": False}, "share_att_key is False"),
        ("ModernBert", {"norm_bias": True}, "norm_bias is True"),
        (
            "ModernBert",
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                }
            },
            "rope_parameters of full_attention are",
        ),
        ("Albert", {"embedding_size": 16}, "albert is none of the packed families"),
    ],
)
def test_an_unknown_variation_is_padded_and_the_log_says_why(
    tmp_path: Path, kind: str, config: dict[str, object], why: str
) -> None:
    folder = build(tmp_path, kind, **config)
    with structlog.testing.capture_logs() as logs:
        classifier = load(EncoderSettings(path=str(folder), device="cpu", threads=1))
    assert classifier.identity.details["forward"] == "padded"
    reasons = [log["why"] for log in logs if log["event"] == "padded_forward"]
    assert len(reasons) == 1
    assert why in reasons[0]
    assert_as_transformers(folder, classifier)


@pytest.mark.parametrize("dtype", ["float32", "auto"])
@pytest.mark.parametrize(
    "wrong", [{"head": "relu"}, {"padding": None}, {"epsilon": (None, 0.5)}], ids=str
)
def test_a_table_that_is_wrong_for_a_model_is_noticed_and_transformers_computes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object], dtype: str
) -> None:
    folder = build_model(tmp_path, "Roberta")
    right = FAMILIES["RobertaForSequenceClassification"]
    other = {right.architecture: replace(right, **wrong)}  # type: ignore[arg-type]
    monkeypatch.setattr(packed_weights, "FAMILIES", other)
    with structlog.testing.capture_logs() as logs:
        settings = {"path": str(folder), "device": "cpu", "threads": 1, "dtype": dtype}
        classifier = load(EncoderSettings.model_validate(settings))
    assert classifier.identity.details["forward"] == "padded"
    (reason,) = [log["why"] for log in logs if log["event"] == "padded_forward"]
    assert "differ from those of transformers" in reason
    if dtype == "float32":
        assert_as_transformers(folder, classifier)


def test_a_padding_token_in_a_text_has_the_position_of_the_padding() -> None:
    rows = [[4, 1, 5], [1], [6, 7]]
    ids = np.concatenate(rows).astype(np.int32)
    lengths = [len(row) for row in rows]
    assert count_places(ids, lengths, padding=1).tolist() == [2, 1, 3, 1, 2, 3]
    assert count_places(ids, lengths, padding=None).tolist() == [0, 1, 2, 0, 0, 1]


def test_rows_of_the_proof_keep_to_the_limit_and_are_never_empty() -> None:
    for before, after in (((), ()), ((2,), (3,))):
        for limit in (None, 2, 16):
            rows = proof_rows(40, before, after, limit=limit)
            assert all(0 < len(row) <= (limit or 200) for row in rows)
            assert all(set(row.tolist()) <= set(range(40)) for row in rows)
