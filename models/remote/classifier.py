"""Classifies through an OpenAI-compatible endpoint: one-token answers or prompted scores."""

import asyncio
import hashlib
import json
from collections.abc import Sequence

import structlog

from streamlabel.config.engines import RemoteSettings
from streamlabel.config.masking import mask_credentials
from streamlabel.errors import InferenceError, ModelError
from streamlabel.models.core.classifier import (
    BatchHints,
    Classifier,
    ModelIdentity,
    Prediction,
    PreparedText,
)
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import PROBE
from streamlabel.models.devices.device import library_versions
from streamlabel.models.label_scoring.top_k import predict_bounded
from streamlabel.models.llm.prompted import PromptedClassifier
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.cutting import Cutter, prepared
from streamlabel.models.remote.forced import ForcedAnswers
from streamlabel.models.remote.probing import probe
from streamlabel.models.remote.prompt import RemotePrompt, answer_forms
from streamlabel.models.remote.reading import ask_candidates
from streamlabel.models.remote.reasoned import ReasonedAnswers
from streamlabel.models.remote.spelling import begun
from streamlabel.models.remote.text import RemoteText
from streamlabel.models.tokens.seen import with_seen

__all__ = ["RemoteClassifier", "load"]

logger = structlog.get_logger(__name__)

PROBE_PATIENCE_S = 30.0  # an operator waits for the probe at start, so it ends sooner


class RemoteClassifier:
    """Reads the answers from ``top_logprobs``, or token by token; implements ``Classifier``."""

    def __init__(
        self,
        *,
        settings: RemoteSettings,
        labels: LabelSet,
        identity: ModelIdentity,
        hints: BatchHints,
        prompt: RemotePrompt,
        forms: Sequence[Sequence[str]],
        client: RemoteClient,
        forced: ForcedAnswers | ReasonedAnswers | None = None,
    ) -> None:
        self._settings = settings
        self._labels = labels
        self._identity = identity
        self._hints = hints
        self._prompt = prompt
        self._forms = forms
        self._client = client
        self._forced = forced
        self._is_closed = False

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
        """The number of batches in the settings, without padding."""
        return self._hints

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Truncate long texts; see ``Classifier``. Payloads are the texts."""
        _refuse_if(self._is_closed)
        return [prepared(cut, str) for cut in await self._prompt.cut_all(texts)]

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Send one request per text; see ``Classifier``."""
        _refuse_if(self._is_closed)
        outcomes = await together([self._classify(text) for text in prepared])
        return with_seen(prepared, outcomes)

    async def _classify(self, text: PreparedText) -> Prediction | InferenceError:
        to_review = text.truncated and self._settings.long_text == "review"
        reasons = ("truncated",) if to_review else ()
        if self._forced is not None:
            return await self._forced.ask(
                self._client,
                self._prompt.messages(text.payload),
                truncated=text.truncated,
                review_reasons=reasons,
            )
        candidates = await ask_candidates(
            self._client, self._prompt, text.payload, top_logprobs=self._settings.top_logprobs
        )
        if isinstance(candidates, InferenceError):
            return candidates
        try:
            return predict_bounded(
                candidates.log_probabilities,
                self._forms,
                top=candidates.top,
                shown=candidates.top,
                truncated=text.truncated,
                review_reasons=reasons,
                max_unknown=self._settings.max_unknown_mass,
                begun=begun(candidates.log_probabilities, self._forms),
            )
        except InferenceError as error:
            return error

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        await self._client.close()


def load(settings: RemoteSettings) -> Classifier:
    """Connect to the endpoint and classify one text as a test; blocks.

    Raises:
        ConfigError: the task does not fit.
        ModelLoadError: the endpoint does not answer, refuses the request, or does not support the
            method.
    """
    labels = LabelSet(settings.task.names)
    one_token = settings.method == "one_token"
    cutter = Cutter(settings)
    prompt = RemotePrompt(settings, "one_token" if one_token else "scores", cutter=cutter)
    forms = answer_forms(settings) if one_token else ()
    patience_s = min(PROBE_PATIENCE_S, settings.outage_timeout_s)
    hurried = settings.model_copy(update={"outage_timeout_s": patience_s})
    asked = RemoteClient(hurried, fixed=prompt.messages(PROBE))
    probed = asyncio.run(probe(asked, settings, prompt, labels, forms))
    if asked.served not in (None, settings.model):
        logger.warning("endpoint_serves_another_name", asked=settings.model, served=asked.served)
    identity = ModelIdentity(
        name=settings.model,
        backend="remote",
        device=mask_credentials(settings.base_url),
        dtype="unknown",  # an endpoint does not report it
        digest=_digest(settings, labels, asked.served),
        prompt_version=prompt.digest(settings.method, labels.names, forms),
        versions=library_versions("openai"),
        details=probed.details
        | {"method": settings.method, "served_model": asked.served or "unknown"},
    )
    hints = BatchHints(max_in_flight=settings.max_in_flight, pads=False)
    client = RemoteClient(settings, fixed=prompt.messages(PROBE), served=asked.served)
    if one_token:
        return RemoteClassifier(
            settings=settings,
            labels=labels,
            identity=identity,
            hints=hints,
            prompt=prompt,
            forms=forms,
            client=client,
            forced=probed.forced,
        )
    engine = RemoteText(
        settings=settings,
        identity=identity,
        hints=hints,
        prompt=prompt,
        client=client,
        guided=probed.guided,
    )
    return PromptedClassifier(
        labels=labels,
        engine=engine,
        reviews_truncated=settings.long_text == "review",
        lenient=settings.score_reading == "lenient",
    )


def _refuse_if(is_closed: bool) -> None:
    if is_closed:
        raise ModelError("the classifier is closed")


def _digest(settings: RemoteSettings, labels: LabelSet, served: str | None) -> str:
    """The weights are not accessible: equal digests mean equal addresses and model names.

    A name in the replies that is not the one asked for counts: behind an alias, the model changes.
    """
    parts: tuple[object, ...] = (settings.base_url, settings.model, settings.body, labels.names)
    parts += () if served in (None, settings.model) else (served,)
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
