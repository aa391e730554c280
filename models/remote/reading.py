"""Requests to an endpoint and the parsing of its replies: candidates of a token, or text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamlabel.errors import InferenceError
from streamlabel.models.label_scoring.answer import log_sum_exp
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.failures import UnreadableError
from streamlabel.models.remote.prompt import RemotePrompt

__all__ = ["Candidates", "ask_candidates", "guide", "read_candidates", "read_text"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The most probable first tokens, in the endpoint's spelling.

    Attributes:
        log_probabilities: token -> log-probability.
        top: the most probable one.
    """

    log_probabilities: Mapping[str, float]
    top: str


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
        UnreadableError: there are none, or they are not log-probabilities.
    """
    logprobs = getattr(choice, "logprobs", None)
    if logprobs is not None and getattr(logprobs, "content", None) is None:
        raise UnreadableError(
            "its log-probabilities are not in the format of chat completions (logprobs.content)"
        )
    try:
        first = logprobs.content[0]  # type: ignore[union-attr] # None is caught below
        entries = list(first.top_logprobs)
        tops = [(entry.token, float(entry.logprob)) for entry in entries]
        chosen = (first.token, float(first.logprob))
    except (AttributeError, TypeError, IndexError, KeyError) as error:
        raise UnreadableError("no log-probabilities") from error
    if not tops:
        raise UnreadableError("no candidates in top_logprobs")
    # -9999 represents minus infinity in JSON: masked, or not computed
    seen: dict[str, float] = {}
    for token, value in tops:
        if -9000 < value <= 1e-3:
            # Parts of a character are all spelled U+FFFD, and are different tokens.
            seen[token] = log_sum_exp([seen[token], value]) if token in seen else value
    if -9000 < chosen[1] <= 1e-3:
        seen.setdefault(*chosen)
    if not seen:
        raise UnreadableError("no finite log-probability")
    top = max(seen, key=lambda token: seen[token])
    return Candidates(seen, top)


def read_text(choice: Any) -> str:  # noqa: ANN401 the client's, or whatever came
    """Return the generated text; empty if the model refused.

    Raises:
        UnreadableError: there is no message.
    """
    message = getattr(choice, "message", None)
    if message is None:
        raise UnreadableError("no message")
    content = getattr(message, "content", None)
    return content if isinstance(content, str) else ""


def guide(json_schema: dict[str, Any]) -> dict[str, Any]:
    """Return the request field that constrains the answer to a schema."""
    named = {"name": "scores", "strict": True, "schema": json_schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
