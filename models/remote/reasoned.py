"""Answers after reasoning from vLLM's server: the model reasons, then its answer is read exactly.

As in ``forced``, the chat is rendered and tokenised by the server, and everything else is appended
as tokens: the model continues until the token that ends its reasoning, or its budget is used up;
then the end of the reasoning and each answer are appended, and their log-probabilities read. So the
server needs no reasoning parser, which would hide where the answer begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.core.probes import PROBE
from streamlabel.models.label_scoring.after_reasoning import Reasoned, Thought, predict_reasoned
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.failures import UnreadableError
from streamlabel.models.remote.forced import ForcedAnswers, chat_tokens, look_up
from streamlabel.models.remote.positions import ReadAnswers, read_positions
from streamlabel.models.remote.prompt import RemotePrompt

__all__ = ["ReasonedAnswers", "open_reasoned"]


@dataclass(frozen=True, slots=True)
class ReasonedAnswers:
    """What is appended to a prompt, generated, and read.

    Attributes:
        begun: tokens of the beginning of the reasoning.
        reasoned: what follows it.
        forced: reads the answers; ``begun`` of it is the end of the reasoning.
    """

    begun: tuple[int, ...]
    reasoned: Reasoned
    forced: ForcedAnswers

    async def ask(
        self,
        client: RemoteClient,
        messages: Sequence[Message],
        *,
        truncated: bool,
        review_reasons: tuple[str, ...],
    ) -> Prediction | InferenceError:
        """Return the prediction for a chat: for each sample, one request more than ``forced``."""

        async def work(asked: Sequence[Message]) -> list[tuple[Thought, ReadAnswers]]:
            chat = await chat_tokens(client, asked, self.forced.fields)
            prompt = (*chat, *self.begun)
            samples = [self._sample(client, prompt, heat) for heat in self.reasoned.heats]
            return list(await together(samples))

        found = await client.attempt(messages, work)
        if isinstance(found, InferenceError):
            return found
        shown: dict[int, str] = {}
        for _, read in found:
            shown |= read.shown
        try:
            return predict_reasoned(
                self.reasoned,
                [each for each, _ in found],
                [read.firsts for _, read in found],
                truncated=truncated,
                review_reasons=review_reasons,
                decode=lambda ids: "".join(shown.get(token, "") for token in ids),
            )
        except InferenceError as error:
            return error

    async def _sample(
        self, client: RemoteClient, prompt: tuple[int, ...], heat: float
    ) -> tuple[Thought, ReadAnswers]:
        found = await _think(client, prompt, self.reasoned, heat=heat)
        whole = (*prompt, *found.tokens, *self.reasoned.tail)
        return found, await read_positions(client, whole, self.forced.trie)


async def open_reasoned(
    client: RemoteClient, settings: RemoteSettings, prompt: RemotePrompt
) -> ReasonedAnswers:
    """Look the tokens up at the endpoint, and reason about a built-in text as a test.

    Raises:
        ConfigError: the answers are not distinct, or the end of the reasoning merges with what
            precedes it.
        ModelLoadError: the endpoint does not offer what is needed.
    """
    reasoning = settings.task.reasoning
    if reasoning is None:
        raise ConfigError("model.task.reasoning: the task has none. This is a bug.")
    messages = prompt.messages(PROBE)
    begun, forced = await look_up(client, settings, prompt, before=(reasoning.begin, reasoning.end))
    reasoned = Reasoned(
        forced.begun,
        forced.trie,
        reasoning.max_tokens,
        (reasoning.heat,) * reasoning.samples,
        ("reasoning_cut",) if reasoning.when_cut == "review" else (),
    )
    answers = ReasonedAnswers(begun, reasoned, forced)
    tried = await answers.ask(client, messages, truncated=False, review_reasons=())
    if isinstance(tried, InferenceError):
        raise ModelLoadError(
            f"model.task.reasoning: the endpoint does not return the tokens that its model writes,"
            f" or the log-probabilities of a prompt (return_token_ids, prompt_logprobs): {tried};"
            " serve the model with vLLM, or remove reasoning"
        )
    return answers


async def _think(
    client: RemoteClient, prompt: tuple[int, ...], reasoned: Reasoned, *, heat: float
) -> Thought:
    body = {
        "prompt": list(prompt),
        "max_tokens": reasoned.limit,
        # no seed: it ends the engine of vLLM on a CPU (seen with 0.32), see ``vllm.runtime``
        "temperature": heat,
        "stop_token_ids": [reasoned.stop],
        "return_token_ids": True,
    }
    reply = await client.post("/v1/completions", body)
    try:
        choice = reply["choices"][0]
        tokens = choice["token_ids"]
        why, stopped_at = choice["finish_reason"], choice.get("stop_reason")
    except (TypeError, LookupError, AttributeError) as error:
        raise UnreadableError("no tokens of the completion (token_ids)") from error
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise UnreadableError("no tokens of the completion (token_ids)")
    # A server may leave the token out that stopped it.
    if why == "stop" and tokens and (tokens[-1] == reasoned.stop or stopped_at is None):
        last, tokens = tokens[-1], tokens[:-1]
        return Thought(tuple(tokens), is_cut=last != reasoned.stop)
    return Thought(tuple(tokens), is_cut=stopped_at != reasoned.stop)
