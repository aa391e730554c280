"""The start-up test of vLLM: unreliable probabilities must stop the start."""

from collections.abc import Iterator, Sequence
from itertools import islice

import structlog

from streamlabel.errors import InferenceError, ModelError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.probes import PROBES
from streamlabel.models.vllm.reader import Reader
from streamlabel.models.vllm.runtime import VllmRuntime

__all__ = ["ask", "fingerprint", "prove_cache", "prove_distinct", "prove_ids"]

logger = structlog.get_logger(__name__)


def ask(reader: Reader, runtime: VllmRuntime) -> list[Prediction]:
    """Classify the probes and return the predictions; blocks.

    Raises:
        ModelLoadError: a probe has no finite number for every label.
    """
    prepared = []
    for outcome in reader.prepare(PROBES):
        if isinstance(outcome, InferenceError):
            raise ModelLoadError(f"model.path: {outcome}; name a model with a complete tokenizer")
        prepared.append(outcome)
    try:
        # Sequentially: the first one fills the prefix cache for the others.
        answers = [runtime.call(reader.read([text]))[0] for text in prepared]
    except ModelError as error:
        raise _untrusted(str(error)) from error
    predictions = []
    for answer in answers:
        if isinstance(answer, InferenceError):
            raise _untrusted(str(answer))
        predictions.append(answer)
    return predictions


def fingerprint(predictions: Sequence[Prediction]) -> dict[str, str]:
    """Return the probes' probabilities for ``ModelIdentity.details``, as a fingerprint."""
    return {
        "probe": " ".join(
            ",".join(f"{p:.4f}" for p in prediction.probabilities or ())
            for prediction in predictions
        )
    }


def prove_ids(runtime: VllmRuntime, row: Sequence[int], wanted: Sequence[int]) -> None:
    """Request two label sets concurrently: each result must have its own tokens, all finite.

    Raises:
        ModelLoadError: it does not; some versions mix up the requested tokens of a batch.
    """
    others = list(islice((token for token in range(len(wanted) + 8) if token not in wanted), 3))
    sets = [list(wanted), others, others[:1], list(wanted)]
    try:
        firsts = runtime.call(runtime.first_tokens([list(row)] * len(sets), sets))
        for first, asked in zip(firsts, sets, strict=True):
            for token in asked:
                first.log_probability(token)
            surplus = set(first.log_probabilities) - {*asked, first.top_id}
            if surplus:
                raise _untrusted(f"asked for {len(asked)} tokens it returns {len(surplus)} others")
    except InferenceError as error:
        raise _untrusted(str(error)) from error


def prove_cache(
    cold: Sequence[Prediction], cached: Sequence[Prediction], *, tolerance: float
) -> float:
    """Return the largest effect of the prefix cache on a probability or its logarithm.

    Raises:
        ModelLoadError: the effect is larger than another order of summation explains.
    """
    pairs = zip(cold, cached, strict=True)
    moved = max(abs(a - b) for pair in pairs for a, b in _numbers(*pair))
    if not moved <= tolerance * 10:
        raise ModelLoadError(
            f"model.prefix_caching: a cached instruction changes a log-probability by {moved:.2g};"
            " set it to false, or use another version of vLLM"
        )
    return moved


def _numbers(one: Prediction, other: Prediction) -> Iterator[tuple[float, float]]:
    """Yield pairs to compare; logarithms only of probable labels, as rounding affects others."""
    yield from zip(one.probabilities or (), other.probabilities or (), strict=True)
    for a, b in zip(one.log_scores or (), other.log_scores or (), strict=True):
        if max(a, b) > -10:
            yield a, b


def prove_distinct(predictions: Sequence[Prediction]) -> None:
    """Refuse a head with equal outputs, which means that it has the wrong rows.

    Raises:
        ModelLoadError: two labels have the same logit for every probe.
    """
    columns = list(zip(*(prediction.log_scores or () for prediction in predictions), strict=True))
    if len(set(columns)) < len(columns):
        raise _untrusted("two labels always have the same logit; the head has the wrong rows")


def _untrusted(why: str) -> ModelLoadError:
    return ModelLoadError(
        f"model.path: the engine's results are unreliable: {why}; use the vLLM version of"
        " docs/platforms.md, or the generative back end"
    )
