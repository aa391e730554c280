"""Classifies a fixed text at start: what does the endpoint support, are its answers usable?"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import InferenceError, ModelError, ModelLoadError
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import PROBE
from streamlabel.models.prompts.score_json import answer_limit_tokens, schema
from streamlabel.models.remote.client import CONTINUED, RemoteClient
from streamlabel.models.remote.forced import ForcedAnswers, open_forced
from streamlabel.models.remote.prompt import RemotePrompt, is_forced
from streamlabel.models.remote.reading import ask_candidates, guide, read_text
from streamlabel.models.remote.reasoned import ReasonedAnswers, open_reasoned
from streamlabel.models.remote.spelling import refuse_several_tokens

__all__ = ["Probed", "probe"]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Probed:
    """What the endpoint supports.

    Attributes:
        guided: it accepts a schema.
        details: for ``ModelIdentity.details``.
        forced: how answers are read token by token, if they have to be.
    """

    guided: bool = False
    details: dict[str, str] = field(default_factory=dict)
    forced: ForcedAnswers | ReasonedAnswers | None = None


async def probe(
    client: RemoteClient,
    settings: RemoteSettings,
    prompt: RemotePrompt,
    labels: LabelSet,
    forms: Sequence[Sequence[str]],
) -> Probed:
    """Classify a fixed text at the endpoint, and close the client."""
    try:
        if settings.task.reasoning is not None:
            reasoned = await open_reasoned(client, settings, prompt)
            return Probed(details={"answers_read": "after reasoning"}, forced=reasoned)
        if is_forced(settings):
            forced = await open_forced(client, settings, prompt)
            return Probed(details={"answers_read": "token by token"}, forced=forced)
        await _refuse_another_turn(client, prompt, settings)
        if settings.method == "one_token":
            return Probed(details=await _probe_candidates(client, prompt, settings, forms))
        guided, details = await _probe_text(client, prompt, settings, labels)
        return Probed(guided, details)
    except ModelLoadError:
        raise
    except ModelError as error:
        raise ModelLoadError(f"model.base_url: {error}{_hint(settings)}") from error
    finally:
        await client.close()


def _hint(settings: RemoteSettings) -> str:
    if settings.task.reasoning is not None:
        return (
            "; model.task.reasoning needs an endpoint that returns the tokens of a completion and"
            " the log-probabilities of a prompt: serve the model with vLLM, or remove reasoning"
        )
    if settings.method == "one_token":
        return "; if it has no log-probabilities, set model.method: prompted"
    return ""


async def _refuse_another_turn(
    client: RemoteClient, prompt: RemotePrompt, settings: RemoteSettings
) -> None:
    """Refuse an endpoint that begins another message where the answer was begun.

    Asked to repeat what it continues, it shows whether it does.
    """
    prefix = settings.task.answer_prefix
    if not prefix:
        return
    said = await client.ask(
        prompt.messages(PROBE),
        read_text,
        max_tokens=1,
        extra_body={**settings.body, **CONTINUED, "echo": True},
    )
    if isinstance(said, InferenceError) or not said.lstrip().startswith(prefix):
        raise ModelLoadError(
            "model.task.answer_prefix: the endpoint does not continue an answer that was begun"
            " (fields continue_final_message and echo); remove it, or serve the model with vLLM"
        )


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
    unknown = await refuse_several_tokens(
        client,
        forms,
        seen=list(found.log_probabilities),
        is_one_token=prompt.cutter.is_one_token,
        top_logprobs=settings.top_logprobs,
    )
    if unknown:
        logger.warning(
            "answers_not_found",
            answers=unknown,
            advice="they are neither candidates of a built-in text nor repeated by the model, and"
            " may be several tokens; set model.task.answer_with: letters",
        )
    return {
        "labels_among_candidates": f"{present} of {len(forms)}",
        "answers_not_found": str(len(unknown)),
    }


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
