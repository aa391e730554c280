"""Loads the two halves of an encoder, rows and model, and proves that they fit each other."""

from collections.abc import Sequence

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.checkpoint import Checkpoint
from streamlabel.models.devices import Device, device_errors
from streamlabel.models.fit_settings import fastest_precision
from streamlabel.models.labels import LabelSet
from streamlabel.models.packed_weights import load_packed
from streamlabel.models.precision import Precision, choose_precision, probe_rows
from streamlabel.models.pretrained import load_padded, load_tokenizer
from streamlabel.models.rows import Forward, RowBuilder, read_rows
from streamlabel.models.tokenizer_file import read_tokenizer
from streamlabel.models.tokens import TextTokenizer, special_tokens
from streamlabel.models.windows import LongTextPolicy

__all__ = ["faster_ways", "load_forward", "load_rows"]


def load_forward(
    checkpoint: Checkpoint,
    settings: EncoderSettings,
    device: Device,
    rows: RowBuilder,
    labels: LabelSet,
) -> tuple[Forward, Precision]:
    """Return the model, proved, and the way it computes."""

    def proved(way: Precision) -> Forward:
        packed = load_packed(checkpoint, device, way)
        forward = packed or load_padded(checkpoint, device, dtype=way.dtype)
        _prove(forward, rows, labels, device)
        return forward

    if settings.dtype != "auto":
        # Nothing is tested: the first layer, which costs most precision, stays exact.
        is_half = settings.dtype != "float32"
        wanted = Precision(settings.dtype, exact_layers=int(is_half and device.kind == "cpu"))
        return proved(wanted), wanted
    probes = probe_rows(rows.tokenizer.vocabulary, rows.before, rows.after)
    return choose_precision(proved, faster_ways(device), probes, labels.problem_type)


def faster_ways(device: Device) -> Sequence[Precision]:
    """Return the ways to compute faster than in float32 on this device, the fastest first."""
    if device.kind != "cpu":
        return (Precision("bfloat16"),)
    if fastest_precision() != "bfloat16":
        return ()
    return (Precision("bfloat16"), Precision("bfloat16", exact_layers=1))


def load_rows(checkpoint: Checkpoint, settings: EncoderSettings, max_tokens: int) -> RowBuilder:
    """Return what makes rows of texts."""
    backend = read_tokenizer(checkpoint) or load_tokenizer(checkpoint)
    checkpoint.refuse_other_vocabulary(backend.get_vocab_size())
    before, after = special_tokens(backend)
    policy = LongTextPolicy(
        capacity_tokens=max_tokens - len(before) - len(after),
        long_text=settings.long_text,
        overlap_tokens=settings.window_stride_tokens,
        max_windows=settings.max_windows,
    )
    tokenizer = TextTokenizer(backend, limit_tokens=policy.limit_tokens)
    return RowBuilder(tokenizer, tuple(before), tuple(after), policy)


def _prove(forward: Forward, rows: RowBuilder, labels: LabelSet, device: Device) -> None:
    """Classify one text: what cannot work fails at start, and first use pays no warming up."""
    built = rows.build(["a"])[0]
    if isinstance(built, InferenceError):
        raise ModelLoadError(f"model.path: {built}; name a model with a complete tokenizer")
    try:
        with device_errors(device):
            logits = forward.logits(read_rows([built]))
    except InferenceError as error:
        raise ModelLoadError(
            f"model.path: the model fails on its first text ({error}); its files do not agree with"
            " its config.json"
        ) from error
    if logits.shape != (1, len(labels)):
        raise ModelLoadError(
            f"model.path: the model has {logits.shape[-1]} outputs and its config.json"
            f" {len(labels)} labels; name a model whose two agree"
        )
