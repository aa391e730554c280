"""One-token answers on transformers: the label is read from the first token's probabilities."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from streamlabel.config.model import GenerativeSettings
from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import DRIFT, PROBES
from streamlabel.models.devices.device import Device
from streamlabel.models.devices.device_threads import DeviceThreads
from streamlabel.models.label_scoring.label_reads import LabelReads, compile_reads, prompt_version
from streamlabel.models.label_scoring.policy_answers import compile_policies, labels_of
from streamlabel.models.label_scoring.taught_prompt import refuse_other_prompt, tuned_folders
from streamlabel.models.llm.independence import settle_company, settle_shared_company
from streamlabel.models.llm.loading import LoadedCausal, open_causal
from streamlabel.models.llm.own_forward import settle_forward
from streamlabel.models.llm.policy_reader import PolicyReader
from streamlabel.models.llm.prompt_reader import PromptReader
from streamlabel.models.prompts.build_prompt import Keep, Prompt, build_prompt

__all__ = ["GenerativeClassifier", "load"]

logger = structlog.get_logger(__name__)

Reader = PromptReader | PolicyReader


class GenerativeClassifier:
    """Classifies with a language model in this process; implements ``Classifier``."""

    def __init__(
        self,
        *,
        labels: LabelSet,
        identity: ModelIdentity,
        hints: BatchHints,
        reader: Reader,
        device: Device,
        threads: int | None = None,
    ) -> None:
        self._labels = labels
        self._identity = identity
        self._hints = hints
        self._reader = reader
        self._threads = DeviceThreads(device, threads)

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
        """How its batches should be formed."""
        return self._hints

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see ``Classifier``."""
        return await self._threads.tokenize(partial(self._reader.prepare, list(texts)))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Compute; see ``Classifier``."""
        return await self._threads.compute(partial(self._reader.read, list(prepared)))

    async def close(self) -> None:
        """Let the threads finish their work and release the model."""
        await self._threads.close()


def load(settings: GenerativeSettings) -> GenerativeClassifier:
    """Load the model of the settings and test it; blocks for seconds to minutes.

    Raises:
        ConfigError: a setting or the task does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    task = settings.task
    labels = labels_of(task)
    loaded = open_causal(settings, labels)
    reader, prompt, version = _open_reader(settings, loaded)
    refuse_other_prompt(tuned_folders(loaded.folder, settings.adapter), version)
    attention = settle_forward(loaded, prompt)
    details = prove(reader, loaded, shares_prefix=settings.reuse_prefix)
    identity = loaded.identity(
        "generative",
        prompt_version=version,
        details={
            "scoring": task.scoring,
            "answers": ", ".join(
                f"{name}={'|'.join(forms)}"
                for name, forms in zip(task.names, task.forms, strict=True)
            ),
            "prompt_tokens": str(len(prompt.shared_ids)),
            "attention": attention,
        }
        | details,
    )
    return GenerativeClassifier(
        labels=labels,
        identity=identity,
        hints=loaded.hints,
        reader=reader,
        device=loaded.device,
        threads=settings.threads,
    )


def _open_reader(settings: GenerativeSettings, loaded: LoadedCausal) -> tuple[Reader, Prompt, str]:
    """Return what reads texts, the prompt to test the model with, and the prompts' version."""
    given: dict[str, Any] = {
        "chat": loaded.chat,
        "model": loaded.model,
        "device": loaded.device,
        "reviews_truncated": settings.long_text == "review",
    }
    if settings.task.policies:
        keep: Keep = "head" if settings.long_text == "head" else "head_tail"
        asked = compile_policies(
            settings.task, loaded.chat, max_tokens=loaded.max_tokens, keep=keep
        )
        return PolicyReader(asked=asked, **given), asked.prompts.prompts[0], asked.version
    prompt, reads = _compile(settings, loaded, max_tokens=loaded.max_tokens)
    behind = max(map(len, reads.paths))
    if behind:  # tokens that are appended to a prompt need room too
        prompt, reads = _compile(settings, loaded, max_tokens=loaded.max_tokens - behind)
    return PromptReader(prompt=prompt, reads=reads, **given), prompt, prompt_version(prompt, reads)


def _compile(
    settings: GenerativeSettings, loaded: LoadedCausal, *, max_tokens: int
) -> tuple[Prompt, LabelReads]:
    prompt = build_prompt(
        settings.task,
        answers="one_token",
        render=loaded.chat.render,
        tokenizer=loaded.chat.tokens,
        max_tokens=max_tokens,
        keep="head" if settings.long_text == "head" else "head_tail",
    )
    return prompt, compile_reads(settings.task, prompt=prompt.rendered, chat=loaded.chat)


def prove(reader: Reader, loaded: LoadedCausal, *, shares_prefix: bool) -> dict[str, str]:
    """Classify the probes; raise if a label has no finite log-probability.

    Rows are padded, and the shared instruction is used, only if that changes no prediction.

    Returns:
        Results for ``ModelIdentity.details``: ``probe`` is the fingerprint of this model with this
        prompt on this machine.
    """
    whole = _probe(reader)
    details = {
        "company": settle_company(loaded, writes=False),
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
    if worst > DRIFT[loaded.dtype] or not settle_shared_company(loaded):
        logger.warning("shared_prefix_left_off", difference=worst, model=loaded.name)
        reader.stop_sharing()
        return details | {"shared_prefix": f"off (changed a probability by {worst:.2g})"}
    return details | {"shared_prefix": f"on (changes a probability by {worst:.1g} at most)"}


def _probe(reader: Reader) -> list[Prediction]:
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
