"""Classifies through an OpenAI-compatible endpoint: the first token's candidates, or scores."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import InferenceError, ModelError, ModelLoadError
from streamlabel.models.base import Classifier, ModelInfo, Prediction, PreparedText
from streamlabel.models.devices import library_versions
from streamlabel.models.labels import LabelSet
from streamlabel.models.prompted import PromptedClassifier
from streamlabel.models.remote_client import RemoteClient, UnreadableError
from streamlabel.models.remote_prompt import RemotePrompt, answer_forms
from streamlabel.models.score_json import Fault, answer_limit_tokens, schema
from streamlabel.models.together import together
from streamlabel.models.top_k import predict_bounded

__all__ = ["RemoteClassifier", "RemoteText", "load"]

logger = structlog.get_logger(__name__)

PROBE = "Hello, how are you?"
PROBE_PATIENCE_S = 30.0  # at start an operator waits; later nobody does


@dataclass(frozen=True, slots=True)
class Candidates:
    """The most probable first tokens, as the endpoint spells them.

    Attributes:
        log_probabilities: token -> log-probability.
        top: the most probable one; None if the model ended its answer at once.
    """

    log_probabilities: Mapping[str, float]
    top: str | None


class RemoteClassifier:
    """Reads the answers from ``top_logprobs``; implements ``models.base.Classifier``."""

    def __init__(
        self,
        *,
        settings: RemoteSettings,
        labels: LabelSet,
        info: ModelInfo,
        prompt: RemotePrompt,
        forms: Sequence[Sequence[str]],
        client: RemoteClient,
    ) -> None:
        self._settings = settings
        self._labels = labels
        self._info = info
        self._prompt = prompt
        self._forms = forms
        self._client = client
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
        return self._settings.max_in_flight

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Cut; see ``models.base.Classifier``. Payloads are the texts."""
        _refuse_if(self._is_closed)
        cuts = [self._prompt.cut(text) for text in texts]
        return [PreparedText(cut.tokens, cut.text, truncated=cut.truncated) for cut in cuts]

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Ask for every text; see ``models.base.Classifier``."""
        _refuse_if(self._is_closed)
        return await together([self._classify(text) for text in prepared])

    async def _classify(self, text: PreparedText) -> Prediction | InferenceError:
        candidates = await ask_candidates(
            self._client, self._prompt, text.payload, top_logprobs=self._settings.top_logprobs
        )
        if isinstance(candidates, InferenceError):
            return candidates
        to_review = text.truncated and self._settings.long_text == "review"
        reasons = ("truncated",) if to_review else ()
        if candidates.top is None:
            reasons = ("off_label", *reasons)
            return Prediction(None, truncated=text.truncated, review_reasons=reasons)
        try:
            return predict_bounded(
                candidates.log_probabilities,
                self._forms,
                top=candidates.top,
                shown=candidates.top,
                truncated=text.truncated,
                review_reasons=reasons,
                max_unknown=self._settings.max_unknown_mass,
            )
        except InferenceError as error:
            return error

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        await self._client.close()


class RemoteText:
    """Writes text through the endpoint; implements ``models.text_engine.TextEngine``."""

    def __init__(
        self,
        *,
        settings: RemoteSettings,
        info: ModelInfo,
        prompt: RemotePrompt,
        client: RemoteClient,
        guided: bool,
    ) -> None:
        self.info = info
        self.max_in_flight = settings.max_in_flight
        self._prompt = prompt
        self._client = client
        self._guided = guided
        self._is_closed = False

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Cut; see TextEngine. Payloads are (text, fault)."""
        _refuse_if(self._is_closed)
        return [
            PreparedText(cut.tokens, (cut.text, fault), truncated=cut.truncated)
            for cut, fault in zip(map(self._prompt.cut, texts), faults, strict=True)
        ]

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Ask for every prompt; see TextEngine."""
        _refuse_if(self._is_closed)
        options = guide(json_schema) if self._guided else {}
        return await together(
            [
                self._client.ask(
                    self._prompt.messages(*prompt.payload),
                    read_text,
                    max_tokens=max_tokens,
                    **options,
                )
                for prompt in prompts
            ]
        )

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        await self._client.close()


def load(settings: RemoteSettings) -> Classifier:
    """Ask the endpoint once; blocks.

    Raises:
        ConfigError: the task does not fit.
        ModelLoadError: the endpoint does not answer, refuses us, or lacks what the method needs.
    """
    labels = LabelSet(settings.task.names)
    one_token = settings.method == "one_token"
    prompt = RemotePrompt(
        settings.task, "one_token" if one_token else "scores", max_chars=settings.max_text_chars
    )
    forms = answer_forms(settings) if one_token else ()
    patience_s = min(PROBE_PATIENCE_S, settings.outage_timeout_s)
    hurried = settings.model_copy(update={"outage_timeout_s": patience_s})
    asked = RemoteClient(hurried, fixed=prompt.messages(PROBE))
    guided, details = asyncio.run(_probe(asked, settings, prompt, labels, forms))
    info = ModelInfo(
        name=settings.model,
        backend="remote",
        device=settings.base_url,
        dtype="unknown",  # the endpoint does not tell
        digest=_digest(settings, labels),
        pads=False,
        prompt_version=prompt.digest(settings.method, labels.names, forms),
        versions=library_versions("openai"),
        details=details | {"method": settings.method},
    )
    client = RemoteClient(settings, fixed=prompt.messages(PROBE))
    if one_token:
        return RemoteClassifier(
            settings=settings, labels=labels, info=info, prompt=prompt, forms=forms, client=client
        )
    engine = RemoteText(settings=settings, info=info, prompt=prompt, client=client, guided=guided)
    return PromptedClassifier(
        labels=labels, engine=engine, reviews_truncated=settings.long_text == "review"
    )


async def _probe(
    client: RemoteClient,
    settings: RemoteSettings,
    prompt: RemotePrompt,
    labels: LabelSet,
    forms: Sequence[Sequence[str]],
) -> tuple[bool, dict[str, str]]:
    """Ask a fixed text as the method will; return whether a schema is taken, and what was seen."""
    try:
        if settings.method == "one_token":
            return False, await _probe_candidates(client, prompt, settings, forms)
        return await _probe_text(client, prompt, settings, labels)
    except ModelLoadError:
        raise
    except ModelError as error:
        hint = "; if it has no log-probabilities, set model.method: prompted"
        raise ModelLoadError(
            f"model.base_url: {error}{hint if settings.method == 'one_token' else ''}"
        ) from error
    finally:
        await client.close()


async def _probe_candidates(
    client: RemoteClient,
    prompt: RemotePrompt,
    settings: RemoteSettings,
    forms: Sequence[Sequence[str]],
) -> dict[str, str]:
    found = await ask_candidates(client, prompt, PROBE, top_logprobs=settings.top_logprobs)
    if isinstance(found, InferenceError):
        raise ModelLoadError(
            f"model.method: {found}; if the endpoint has no log-probabilities (top_logprobs ="
            f" {settings.top_logprobs}), set model.method: prompted"
        )
    present = sum(any(form in found.log_probabilities for form in of_label) for of_label in forms)
    if not present:
        logger.warning(
            "no_answer_among_candidates",
            advice="answers that are several tokens never are: set model.task.answer_with: letters",
        )
    return {"labels_among_candidates": f"{present} of {len(forms)}"}


async def _probe_text(
    client: RemoteClient, prompt: RemotePrompt, settings: RemoteSettings, labels: LabelSet
) -> tuple[bool, dict[str, str]]:
    messages, limit = prompt.messages(PROBE), answer_limit_tokens(labels.names)
    if settings.guided_json:
        answer = await client.ask(
            messages, read_text, max_tokens=limit, **guide(schema(labels.names))
        )
        if not isinstance(answer, InferenceError):
            return True, {"guided_json": "yes"}
        logger.warning("guided_json_left_off", reason=str(answer))
    answer = await client.ask(messages, read_text, max_tokens=limit)
    if isinstance(answer, InferenceError):
        raise ModelLoadError(f"model.model: {answer}; check model.model and model.extra_body")
    return False, {"guided_json": "no"}


async def ask_candidates(
    client: RemoteClient, prompt: RemotePrompt, text: str, *, top_logprobs: int
) -> Candidates | InferenceError:
    """Return the most probable first tokens of the answer to a text."""
    return await client.ask(
        prompt.messages(text),
        read_candidates,
        max_tokens=1,
        logprobs=True,
        top_logprobs=top_logprobs,
    )


def read_candidates(choice: Any) -> Candidates:  # noqa: ANN401 the client's, or whatever came
    """Return the candidates in a choice.

    Raises:
        UnreadableError: there are none, or they are no log-probabilities.
    """
    try:
        content = choice.logprobs.content
        if not content:
            return Candidates({}, None)
        entries = [content[0], *content[0].top_logprobs]
        seen = {entry.token: float(entry.logprob) for entry in entries}
        top = max(seen, key=lambda token: seen[token])
    except (AttributeError, TypeError, IndexError, KeyError) as error:
        raise UnreadableError("no log-probabilities") from error
    # -9999 stands for minus infinity in JSON: masked, or not computed
    seen = {token: value for token, value in seen.items() if -9000 < value <= 1e-3}
    if top not in seen:
        raise UnreadableError("no finite log-probability")
    return Candidates(seen, top)


def read_text(choice: Any) -> str:  # noqa: ANN401 the client's, or whatever came
    """Return what the model wrote; nothing if it refused.

    Raises:
        UnreadableError: there is no message.
    """
    message = getattr(choice, "message", None)
    if message is None:
        raise UnreadableError("no message")
    content = getattr(message, "content", None)
    return content if isinstance(content, str) else ""


def guide(json_schema: dict[str, Any]) -> dict[str, Any]:
    """Return the field that holds an answer to a schema."""
    named = {"name": "scores", "strict": True, "schema": json_schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _refuse_if(is_closed: bool) -> None:
    if is_closed:
        raise ModelError("the classifier is closed")


def _digest(settings: RemoteSettings, labels: LabelSet) -> str:
    """The endpoint's weights cannot be seen: equal digests mean equal addresses and names."""
    parts = (settings.base_url, settings.model, settings.extra_body, labels.names)
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
