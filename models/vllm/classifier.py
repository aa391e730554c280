"""vLLM in the worker process: one-token answers, a head, prompted scores, or an encoder."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import (
    BatchHints,
    Classifier,
    ModelIdentity,
    Prediction,
    PreparedText,
)
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import DRIFT, PROBE
from streamlabel.models.devices.device_threads import OwnThreads
from streamlabel.models.vllm import canary
from streamlabel.models.vllm.modes import OPENERS
from streamlabel.models.vllm.reader import Reader
from streamlabel.models.vllm.runtime import VllmRuntime
from streamlabel.models.vllm.start import Engine, prepare_environment
from streamlabel.models.vllm.text import open_prompted

__all__ = ["VllmClassifier", "load"]

logger = structlog.get_logger(__name__)


class VllmClassifier:
    """Classifies with vLLM's engine; implements ``Classifier``.

    The engine merges batches (continuous batching), so many may be in flight. When the engine ends,
    hangs or returns other results, ``lost`` returns and every call raises WorkerError: the process
    must then be replaced.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        identity: ModelIdentity,
        hints: BatchHints,
        reader: Reader,
        runtime: VllmRuntime,
    ) -> None:
        self._labels = labels
        self._identity = identity
        self._hints = hints
        self._reader = reader
        self._runtime = runtime
        self._tokenizer = OwnThreads("tokenizer")

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        return self._labels

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model."""
        return self._identity

    @property
    def hints(self) -> BatchHints:
        """The number of batches in the settings, each as large as one step of the engine."""
        return self._hints

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see ``Classifier``."""
        return await self._tokenizer.run(partial(self._reader.prepare, list(texts)))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Send requests to the engine; see ``Classifier``."""
        self._tokenizer.refuse_if_closed()
        return await self._reader.read(prepared)

    async def lost(self) -> str:
        """Wait until the engine is lost, and return the reason as a clause."""
        return await self._runtime.lost()

    async def close(self) -> None:
        """End the engine's processes."""
        await self._tokenizer.close()
        await asyncio.to_thread(self._runtime.close)


def load(settings: VllmSettings) -> Classifier:
    """Start the engine, test it, and start its periodic health check; blocks.

    Raises:
        ConfigError: a setting or the task does not fit the model or the platform.
        ModelLoadError: the engine does not start, or the start-up test fails.
    """
    prepare_environment(settings.device)
    if settings.mode == "prompted":
        prompted, engine, prompt = open_prompted(settings)
        row = prompt.encode(PROBE).ids

        async def write_one() -> list[float]:
            await engine.runtime.write([row], max_tokens=1, pattern=None, end_ids=())
            return [0.0]  # text may differ by rounding; only a missing answer fails

        _watch(engine, settings, write_one, (0.0,))
        return prompted
    opened = OPENERS[settings.mode](settings)
    watched = opened.canary or opened.reader
    (probe,) = watched.prepare([PROBE])

    async def read_one() -> Sequence[float]:
        if isinstance(probe, InferenceError):
            raise probe
        (outcome,) = await watched.read([probe])
        if isinstance(outcome, InferenceError):
            raise outcome
        return outcome.probabilities or ()

    _watch(opened.engine, settings, read_one, opened.expected)
    return VllmClassifier(
        labels=opened.labels,
        identity=opened.identity,
        hints=opened.hints,
        reader=opened.reader,
        runtime=opened.engine.runtime,
    )


def _watch(
    engine: Engine,
    settings: VllmSettings,
    ask: Callable[[], Awaitable[Sequence[float]]],
    expected: Sequence[float],
) -> None:
    counted = 0

    def report() -> None:
        nonlocal counted
        cache = engine.runtime.cache
        if cache.prompt_tokens > counted:
            logger.info("engine_cache", hit_ratio=round(cache.ratio, 3), tokens=cache.prompt_tokens)
        counted = cache.prompt_tokens

    engine.runtime.watch(
        canary.watch(
            ask,
            expected,
            interval_s=settings.canary_interval_s,
            timeout_s=settings.canary_timeout_s,
            tolerance=DRIFT[engine.dtype],
            on_beat=report,
        )
    )
