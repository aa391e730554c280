"""Loads the tokenizer and the model of an encoder, and checks that they fit each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.classifier import PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.encoder.independence import company_rows, describe, settle_padding
from streamlabel.models.encoder.packed_proof import (
    PackedLoader,
    proof_limit,
    proof_rows,
    proof_types,
)
from streamlabel.models.encoder.padded import PaddedForward, Padding
from streamlabel.models.encoder.precision import (
    EXACT,
    Choice,
    Precision,
    Probes,
    choose_precision,
    probe_rows,
)
from streamlabel.models.encoder.pretrained import load_padded
from streamlabel.models.encoder.words import Words, build_rows
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.row_limit import probe_row, table_limit, try_row
from streamlabel.models.tokens.rows import (
    Forward,
    Rows,
    Types,
    read_rows,
    read_types,
)

__all__ = ["LoadedForward", "faster_ways", "load_forward"]


@dataclass(frozen=True, slots=True)
class LoadedForward:
    """A model that was loaded and tried.

    Attributes:
        forward: computes the logits.
        choice: the precision in which it computes, and why.
        max_tokens: the longest row it accepts.
        company: how predictions are kept independent of the other texts of a batch.
    """

    forward: Forward
    choice: Choice
    max_tokens: int
    company: str


def load_forward(
    checkpoint: Checkpoint,
    settings: EncoderSettings,
    device: Device,
    words: Words,
    labels: LabelSet,
) -> LoadedForward:
    """Return the model after the checks at load."""
    positions: list[int | None] = []
    companies: dict[Precision, str] = {}
    random = proof_rows(words.count, words.before, words.after, limit=proof_limit(checkpoint))
    row_types = _refuse_unknown_types(checkpoint, words, random)
    packed = PackedLoader(
        checkpoint, device, words.types, random, labels.problem_type, row_types=row_types
    )

    def proved(way: Precision) -> Forward:
        forward = packed.load(way) or load_padded(
            checkpoint, device, dtype=way.dtype, types=words.types
        )
        positions.append(_prove(forward, words, labels, device))
        rows = company_rows(words.some(64), words.before, words.after, limit=positions[0])
        companies[way] = _settle(forward, rows, way, labels, device)
        return forward

    def limit() -> int:
        table = positions[0] or checkpoint.stated_positions()
        return checkpoint.max_tokens(settings, positions=table)

    def probes() -> Probes:
        if texts := settings.precision_hint.texts:
            real = _prepared(texts, words, settings, limit())
            return Probes(read_rows(real), are_real=True, types=read_types(real))
        return Probes(probe_rows(words.count, words.before, words.after))

    judged = _judged_before(settings, device)
    if settings.dtype != "auto":
        # The setting is used without a test; the first layer, whose rounding costs most precision,
        # stays in float32.
        is_half = settings.dtype != "float32"
        way = Precision(settings.dtype, exact_layers=int(is_half and device.kind == "cpu"))
        choice = Choice(proved(way), way, "", None if is_half else 0.0)
    elif judged is not None:
        choice = Choice(proved(judged), judged, f"{judged}: as when the calibration was made")
    else:
        choice = choose_precision(proved, faster_ways(device), probes, labels.problem_type)
    forward, way, max_tokens = choice.forward, choice.way, limit()
    longest = probe_row(words.before, words.after, token=words.ordinary, length=max_tokens)
    weight_bytes = checkpoint.weights().size_bytes
    try_row(forward.logits, longest, device=device, weight_bytes=weight_bytes)
    return LoadedForward(forward, choice, max_tokens, companies[way])


def _judged_before(settings: EncoderSettings, device: Device) -> Precision | None:
    """Return the precision of the calibration, if this device can compute in it."""
    hint = settings.precision_hint
    if hint.dtype is None or hint.device != device.kind:
        return None
    way = Precision(hint.dtype, hint.exact_layers)
    return way if way in {EXACT, *faster_ways(device)} else None


def _refuse_unknown_types(checkpoint: Checkpoint, words: Words, rows: Rows) -> Types | None:
    """Return token types for the proof of a model that reads pairs; refuse those it cannot have."""
    if words.types is None or words.pair is None:
        return None
    highest, known = words.pair.highest_type, checkpoint.config.get("type_vocab_size")
    # DeBERTa-v3 has 0, and takes no notice of types
    if type(known) is int and 0 < known <= highest:
        raise ModelLoadError(
            f"model.conversations: the tokenizer of {checkpoint.name} gives tokens of a pair the"
            f" type {highest}, and the model has {known} (type_vocab_size in config.json); save the"
            " tokenizer that the model was trained with, or set conversations: false"
        )
    return proof_types(rows, highest)


def _prepared(
    texts: Sequence[str], words: Words, settings: EncoderSettings, max_tokens: int
) -> Sequence[PreparedText]:
    prepared = build_rows(words, settings, max_tokens).build(list(texts))
    return [text for text in prepared if not isinstance(text, InferenceError)]


def faster_ways(device: Device) -> Sequence[Precision]:
    """Return the precisions that are faster than float32 on this device, the fastest first."""
    if fastest_precision(device.kind) != "bfloat16":
        return ()
    if device.kind != "cpu":
        return (Precision("bfloat16"),)
    return (Precision("bfloat16"), Precision("bfloat16", exact_layers=1))


def _settle(forward: Forward, rows: Rows, way: Precision, labels: LabelSet, device: Device) -> str:
    """Choose padding with which batching changes no prediction, and return a description."""

    def alone(rows: Rows) -> Floats:
        with device_errors(device):
            return forward.logits(rows)

    def together(rows: Rows, padding: Padding) -> Floats:
        with device_errors(device):
            if isinstance(forward, PaddedForward):
                return forward.together(rows, padding)
            return forward.logits(rows)

    is_padded = isinstance(forward, PaddedForward)
    padding, moved = settle_padding(
        alone,
        together,
        rows,
        # A packed model gets rows of all lengths in any case.
        sides=("right", "left") if is_padded else ("right",),
        dtype=way.dtype,
        problem_type=labels.problem_type,
    )
    if isinstance(forward, PaddedForward):
        forward.padding = padding
        return describe(padding, moved)
    if padding == "none":
        raise ModelLoadError(
            "model.path: packed rows change each other's logits. This is a bug; report it with the"
            " model's config.json"
        )
    return f"packed; in a batch a probability changes by {moved:.0e} at most"


def _prove(forward: Forward, words: Words, labels: LabelSet, device: Device) -> int | None:
    """Classify a short row, so that a broken model fails at start and the first batch is warm.

    Returns:
        The longest row that the model's table of positions allows; None if it has none.
    """
    seen: list[tuple[int, ...]] = []

    def compute(rows: Rows) -> None:
        with device_errors(device):
            seen.append(forward.logits(rows).shape)

    try:
        limit = table_limit(compute, words.before, words.after, token=words.ordinary)
    except InferenceError as error:
        raise ModelLoadError(
            f"model.path: the model fails on its first text ({error}); its files do not agree with"
            " its config.json"
        ) from error
    if seen[0] != (1, len(labels)):
        raise ModelLoadError(
            f"model.path: the model has {seen[0][-1]} outputs and its config.json"
            f" {len(labels)} labels; name a model whose two agree"
        )
    return limit
