"""Tries a batch of the maximum size at start, to check that it fits into the device's memory."""

from dataclasses import dataclass
from typing import Final

import structlog

from streamlabel.config.settings import BatchingSettings
from streamlabel.errors import (
    ConfigError,
    DeviceMemoryError,
    InferenceError,
    ModelLoadError,
    WorkerError,
)
from streamlabel.models.core.classifier import Classifier, PreparedText

__all__ = ["FullBatch", "prove_memory", "try_full_batch"]

_ACCELERATORS: Final = {"cuda", "npu"}
# At least one token in every vocabulary.
_WORD: Final = "good "
_MOST_CHARS: Final = 1 << 24
_GROWTH: Final = 4

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FullBatch:
    """The batch that was classified.

    Attributes:
        texts: number of texts, each of the model's maximum length.
        tokens: of the batch, padding included.
    """

    texts: int
    tokens: int


async def prove_memory(classifier: Classifier, batching: BatchingSettings) -> None:
    """Check at start that a full batch fits, on a device with memory of its own.

    On a CPU nothing is tried: a batch takes little memory compared with the model and the machine,
    and the start would be delayed by seconds.

    Raises:
        ConfigError: a full batch does not fit in the device's memory; the message names a size
            that does.
        ModelLoadError: the model fails on the longest text.
    """
    if classifier.identity.device.partition(":")[0] not in _ACCELERATORS:
        return
    tried = await try_full_batch(classifier, batching)
    if tried is not None:
        _log.info("full_batch_fits", texts=tried.texts, tokens=tried.tokens)


async def try_full_batch(classifier: Classifier, batching: BatchingSettings) -> FullBatch | None:
    """Classify as many texts of the model's maximum length as a batch may have.

    Returns:
        The batch; None if the back end has no maximum row length, and so no largest batch.

    Raises:
        ConfigError: it does not fit in the device's memory; the message names a size that does.
        ModelLoadError: the model fails on a text of that length.
    """
    if classifier.hints.max_tokens is None:
        return None
    text = await _longest(classifier)
    size = text.rows * text.tokens
    budget = batching.max_batch_tokens or classifier.hints.batch_tokens
    texts = max(1, min(batching.max_batch_items, budget // size))
    why = await _failure(classifier, text, texts=texts)
    if why is None:
        return FullBatch(texts, texts * size)
    fitting = texts // 2
    # A worker that a batch has crashed restarts by itself, but its restarts are counted.
    while fitting and not why.ended and await _failure(classifier, text, texts=fitting):
        fitting //= 2
    raise ConfigError(_advice(why, text, texts=texts, fitting=0 if why.ended else fitting))


@dataclass(frozen=True, slots=True)
class _Failure:
    what: str
    ended: bool


async def _longest(classifier: Classifier) -> PreparedText:
    """Return a text that exceeds the model's maximum length, cut to that length."""
    words = classifier.hints.max_tokens or 1
    while True:
        [prepared] = await classifier.prepare([_WORD * words])
        if isinstance(prepared, InferenceError):
            raise ModelLoadError(
                f"the model fails on a text that exceeds its maximum length: {prepared}"
            )
        words *= _GROWTH
        if prepared.truncated or words * len(_WORD) > _MOST_CHARS:
            return prepared


async def _failure(classifier: Classifier, text: PreparedText, *, texts: int) -> _Failure | None:
    """Return why a batch of these does not fit, None if it does."""
    try:
        outcomes = await classifier.classify([text] * texts)
    except DeviceMemoryError as error:
        return _Failure(str(error), ended=False)
    except WorkerError as error:
        return _Failure(str(error), ended=True)
    except InferenceError as error:
        outcomes = [error]
    for outcome in outcomes:
        if isinstance(outcome, InferenceError):
            raise ModelLoadError(
                f"the model fails on a text of {text.tokens} tokens, the longest that it takes"
                f" ({outcome}); lower model.max_tokens"
            )
    return None


def _advice(why: _Failure, text: PreparedText, *, texts: int, fitting: int) -> str:
    size = text.rows * text.tokens
    tried = f"a full batch of {texts * size} tokens ({texts} texts of {size})"
    if fitting:
        return (
            f"batching.max_batch_tokens: {tried} does not fit into memory with the model"
            f" ({why.what}); {fitting * size} fit: set that, or lower model.max_tokens"
        )
    if texts > 1 and why.ended:
        return (
            f"batching.max_batch_tokens: {tried} crashes the worker process ({why.what}); set less,"
            f" for example {texts // 2 * size}, or lower model.max_tokens"
        )
    rows = f", {text.rows} rows of it" if text.rows > 1 else ""
    windows = " or model.max_windows" if text.rows > 1 else ""
    return (
        f"model.max_tokens: one text of {size} tokens{rows} does not fit into memory with the model"
        f" ({why.what}); lower it{windows}, or use a smaller model or a narrower model.dtype"
    )
