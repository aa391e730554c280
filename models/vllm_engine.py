"""vLLM in the worker process: one-token answers, a head, prompted scores, or an encoder."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import InferenceError, ModelError
from streamlabel.models import canary
from streamlabel.models.base import Classifier, ModelInfo, Prediction, PreparedText
from streamlabel.models.labels import LabelSet
from streamlabel.models.vllm_answers import Reader
from streamlabel.models.vllm_modes import OPENERS
from streamlabel.models.vllm_proof import DRIFT, PROBES
from streamlabel.models.vllm_runtime import VllmRuntime
from streamlabel.models.vllm_start import Engine, prepare_environment
from streamlabel.models.vllm_text import open_prompted

__all__ = ["VllmClassifier", "load"]

logger = structlog.get_logger(__name__)


class VllmClassifier:
    """Classifies with vLLM's engine; implements ``models.base.Classifier``.

    Batches are merged by the engine (continuous batching), so many may be under way. When the
    engine dies, hangs or drifts, ``lost`` returns and everything raises WorkerError: the process
    is then to be replaced.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        info: ModelInfo,
        reader: Reader,
        runtime: VllmRuntime,
        max_in_flight: int,
    ) -> None:
        self._labels = labels
        self._info = info
        self._reader = reader
        self._runtime = runtime
        self._max_in_flight = max_in_flight
        self._tokenizer = ThreadPoolExecutor(1, "tokenizer")
        self._is_closed = False

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        return self._labels

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    def max_in_flight(self) -> int:
        """As the settings say."""
        return self._max_in_flight

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see ``models.base.Classifier``."""
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizer, self._reader.prepare, list(texts))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Ask the engine; see ``models.base.Classifier``."""
        self._refuse_if_closed()
        return await self._reader.read(prepared)

    async def lost(self) -> str:
        """Return when the engine is of no more use, and why: a clause."""
        return await self._runtime.lost()

    async def close(self) -> None:
        """End the engine's processes."""
        self._is_closed = True
        await asyncio.to_thread(self._tokenizer.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._runtime.close)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ModelError("the classifier is closed")


def load(settings: VllmSettings) -> Classifier:
    """Start the engine, prove that it answers, and watch it from then on; blocks.

    Raises:
        ConfigError: a setting or the task does not fit the model or the platform.
        ModelLoadError: the engine does not start, or its answers cannot be trusted.
    """
    prepare_environment()
    if settings.mode == "prompted":
        prompted, engine, prompt = open_prompted(settings)
        row = prompt.encode(PROBES[0]).ids

        async def write_one() -> list[float]:
            await engine.runtime.write([row], max_tokens=1, json_schema=None)
            return [0.0]  # text may differ by rounding; only silence is wrong

        _watch(engine, settings, write_one, (0.0,))
        return prompted
    opened = OPENERS[settings.mode](settings)
    (probe,) = opened.reader.prepare(PROBES[:1])

    async def read_one() -> Sequence[float]:
        if isinstance(probe, InferenceError):
            raise probe
        (outcome,) = await opened.reader.read([probe])
        if isinstance(outcome, InferenceError):
            raise outcome
        return outcome.probabilities or ()

    _watch(opened.engine, settings, read_one, opened.expected)
    return VllmClassifier(
        labels=opened.labels,
        info=opened.info,
        reader=opened.reader,
        runtime=opened.engine.runtime,
        max_in_flight=settings.max_in_flight,
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
