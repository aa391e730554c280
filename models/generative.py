"""One-token answers on transformers: the label is read from the first token's probabilities."""

from collections.abc import Sequence
from functools import partial

import structlog

from streamlabel.config.model import GenerativeSettings
from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.base import ModelInfo, Prediction, PreparedText
from streamlabel.models.causal_loading import LoadedCausal, open_causal
from streamlabel.models.device_threads import DeviceThreads
from streamlabel.models.label_reads import compile_reads
from streamlabel.models.labels import LabelSet
from streamlabel.models.prompt_reader import PromptReader
from streamlabel.models.prompts import build_prompt

__all__ = ["GenerativeClassifier", "load"]

logger = structlog.get_logger(__name__)

# Read at start: they prove that every label is answered, and say whether two machines agree.
PROBES = ("Hello, how are you?", "这是一条测试。", "1")
# How far sharing the instruction may move a probability before it is left off.
SHARING_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.05}


class GenerativeClassifier:
    """Classifies with a language model of this process; implements ``models.base.Classifier``."""

    # One computes, one is queued behind it: the device does not wait for the event loop.
    max_in_flight = 2

    def __init__(
        self,
        *,
        labels: LabelSet,
        info: ModelInfo,
        reader: PromptReader,
        threads: int | None = None,
    ) -> None:
        self._labels = labels
        self._info = info
        self._reader = reader
        self._threads = DeviceThreads(threads)

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        return self._labels

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see ``models.base.Classifier``."""
        return await self._threads.tokenize(partial(self._reader.prepare, list(texts)))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Compute; see ``models.base.Classifier``."""
        return await self._threads.compute(partial(self._reader.read, list(prepared)))

    async def close(self) -> None:
        """Let the threads finish what they have and release the model."""
        await self._threads.close()


def load(settings: GenerativeSettings) -> GenerativeClassifier:
    """Load the model of the settings and prove that it answers; blocks for seconds to minutes.

    Raises:
        ConfigError: a setting or the task does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    task = settings.task
    labels = LabelSet(task.names)
    loaded = open_causal(settings, labels)
    prompt = build_prompt(
        task,
        answers="one_token",
        render=loaded.chat.render,
        tokenizer=loaded.chat.tokens,
        max_tokens=loaded.max_tokens,
        keep="head" if settings.long_text == "head" else "head_tail",
    )
    reads = compile_reads(task, prompt=prompt.rendered, chat=loaded.chat)
    reader = PromptReader(
        prompt=prompt,
        reads=reads,
        chat=loaded.chat,
        model=loaded.model,
        device=loaded.device,
        reviews_truncated=settings.long_text == "review",
    )
    details = prove(reader, loaded, shares_prefix=settings.reuse_prefix)
    info = loaded.info(
        "generative",
        prompt_version=prompt.digest(task.forms, reads.paths, reads.children, loaded.chat.template),
        details={
            "scoring": task.scoring,
            "answers": ", ".join(
                f"{name}={'|'.join(forms)}"
                for name, forms in zip(task.names, task.forms, strict=True)
            ),
            "prompt_tokens": str(len(prompt.shared_ids)),
        }
        | details,
    )
    return GenerativeClassifier(labels=labels, info=info, reader=reader, threads=settings.threads)


def prove(reader: PromptReader, loaded: LoadedCausal, *, shares_prefix: bool) -> dict[str, str]:
    """Read the probes; fail closed if a label is not answered with a finite number.

    The shared instruction is used only if it changes nothing.

    Returns:
        What was seen, for ``ModelInfo.details``: ``probe`` is the fingerprint of this model with
        this prompt on this machine.
    """
    whole = _probe(reader)
    details = {
        "probe": " ".join(",".join(f"{p:.4f}" for p in row.probabilities or ()) for row in whole),
        "probe_off_label_mass": ",".join(f"{row.off_label_mass or 0:.4f}" for row in whole),
    }
    if not shares_prefix or not reader.share_prefix():
        return details | {"shared_prefix": "off"}
    worst = max(
        abs(a - b)
        for one, other in zip(whole, _probe(reader), strict=True)
        for a, b in zip(one.probabilities or (), other.probabilities or (), strict=True)
    )
    if worst > SHARING_TOLERANCE[loaded.dtype]:
        logger.warning("shared_prefix_left_off", difference=worst, model=loaded.name)
        reader.stop_sharing()
        return details | {"shared_prefix": f"off (moved a probability by {worst:.2g})"}
    return details | {"shared_prefix": f"on (moves a probability by {worst:.1g} at most)"}


def _probe(reader: PromptReader) -> list[Prediction]:
    predictions = []
    for outcome in reader.prepare(PROBES):
        if isinstance(outcome, InferenceError):
            raise ModelLoadError(f"model.path: {outcome}; name a model with a complete tokenizer")
        (prediction,) = reader.read([outcome])
        if isinstance(prediction, InferenceError):
            raise ModelLoadError(
                f"model.path: the model does not answer with the task's labels: {prediction};"
                " its weights or its dtype on this device are broken"
            )
        predictions.append(prediction)
    return predictions
