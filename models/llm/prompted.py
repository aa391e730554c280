"""Prompted scores: the model writes one JSON object with an integer from 1 to 100 per class."""

from collections.abc import Sequence
from dataclasses import replace

from streamlabel.config.model import PromptedSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.llm.text_engine import TextEngine
from streamlabel.models.prompts.score_json import Fault, Scores, answer_limit_tokens, parse, schema
from streamlabel.models.tokens.seen import with_seen

__all__ = ["PromptedClassifier", "load"]


class PromptedClassifier:
    """Classifies with prompted scores; implements ``Classifier`` on any TextEngine.

    After a malformed answer the model is asked once more, with a description of the fault. If the
    second answer is malformed too, the prediction is ``unparseable`` and has no probabilities, so
    the record goes to review.

    A lenient reading accepts a few ways of writing, and the prediction says which.

    Payloads are (text, payload of the engine), because a second try needs the text.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        engine: TextEngine,
        reviews_truncated: bool = False,
        lenient: bool = False,
    ) -> None:
        self._labels = labels
        self._lenient = lenient
        self._engine = engine
        self._reviews_truncated = reviews_truncated
        self._schema = schema(labels.names)
        self._max_tokens = answer_limit_tokens(labels.names)

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        return self._labels

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model."""
        return self._engine.identity

    @property
    def hints(self) -> BatchHints:
        """The hints of the engine."""
        return self._engine.hints

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Render the prompts; see ``Classifier``."""
        return [
            prompt
            if isinstance(prompt, InferenceError)
            else replace(prompt, payload=(text, prompt.payload))
            for text, prompt in zip(
                texts, await self._engine.encode(texts, [None] * len(texts)), strict=True
            )
        ]

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Generate scores, with a second try after malformed answers; see ``Classifier``."""
        if not prepared:
            return []
        first = [replace(text, payload=text.payload[1]) for text in prepared]
        outcomes = await self._ask(first)
        faults = {i: found for i, found in enumerate(outcomes) if isinstance(found, str)}
        if faults:
            texts = [str(prepared[i].payload[0]) for i in faults]
            for i, outcome in zip(
                faults, await self._ask_again(texts, list(faults.values())), strict=True
            ):
                outcomes[i] = outcome
        predictions = [
            outcome
            if isinstance(outcome, InferenceError)
            else self._prediction(outcome, truncated=text.truncated)
            for text, outcome in zip(prepared, outcomes, strict=True)
        ]
        return with_seen(prepared, predictions)

    async def close(self) -> None:
        """Release the engine."""
        await self._engine.close()

    async def _ask(self, prompts: Sequence[PreparedText]) -> list[Scores | Fault | InferenceError]:
        answers = await self._engine.generate_text(
            prompts, max_tokens=self._max_tokens, json_schema=self._schema
        )
        return [
            answer
            if isinstance(answer, InferenceError)
            else parse(answer, self._labels.names, lenient=self._lenient)
            for answer in answers
        ]

    async def _ask_again(
        self, texts: Sequence[str], faults: Sequence[Fault]
    ) -> list[Scores | Fault | InferenceError]:
        prompts = await self._engine.encode(texts, faults)
        usable = [prompt for prompt in prompts if isinstance(prompt, PreparedText)]
        asked = iter(await self._ask(usable) if usable else [])
        return [prompt if isinstance(prompt, InferenceError) else next(asked) for prompt in prompts]

    def _prediction(self, outcome: Scores | Fault, *, truncated: bool) -> Prediction:
        reasons = ("truncated",) if truncated and self._reviews_truncated else ()
        if not isinstance(outcome, Scores):
            return Prediction(None, truncated=truncated, review_reasons=("unparseable", *reasons))
        return Prediction(
            outcome.probabilities,
            outcome.log_scores,
            truncated=truncated,
            review_reasons=reasons,
            sum_error=float(outcome.sum_error),
            lenient_reading=", ".join(outcome.passed) or None,
        )


def load(settings: PromptedSettings) -> PromptedClassifier:
    """Load the model of the settings; blocks for seconds to minutes.

    Raises:
        ConfigError: a setting or the task does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    from streamlabel.models.llm import transformers_text

    labels = LabelSet(settings.task.names)
    return PromptedClassifier(
        labels=labels,
        engine=transformers_text.load(settings, labels),
        reviews_truncated=settings.long_text == "review",
        lenient=settings.score_reading == "lenient",
    )
