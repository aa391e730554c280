"""Exact probabilities of answers that an endpoint is made to give, token by token.

Candidates of the first token are not enough where an answer is several tokens, or follows a
beginning that is put into the model's mouth: a chat template may write an assistant's message in
another way than the beginning of a reply. So the server renders and tokenises the chat, the
beginning and each answer are appended as tokens, and the server returns the log-probability of
every token of the prompt. The product over an answer's tokens is its probability, whatever its
rank.

vLLM's server offers this: ``/tokenize``, ``/detokenize``, and ``prompt_logprobs`` of completions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.core.probes import PROBE
from streamlabel.models.label_scoring.label_reads import predict
from streamlabel.models.label_scoring.label_tokens import answer_tokens
from streamlabel.models.label_scoring.label_trie import LabelTrie, build_trie
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.failures import UnreadableError
from streamlabel.models.remote.positions import ReadAnswers, read_positions
from streamlabel.models.remote.prompt import RemotePrompt

__all__ = ["ForcedAnswers", "chat_tokens", "look_up", "open_forced"]


@dataclass(frozen=True, slots=True)
class ForcedAnswers:
    """What is appended to a prompt, and read.

    Attributes:
        begun: tokens of the beginning of the answer.
        trie: the answers' tokens.
        fields: of every chat, by the settings.
    """

    begun: tuple[int, ...]
    trie: LabelTrie
    fields: Mapping[str, Any]

    async def ask(
        self,
        client: RemoteClient,
        messages: Sequence[Message],
        *,
        truncated: bool,
        review_reasons: tuple[str, ...],
    ) -> Prediction | InferenceError:
        """Return the prediction for a chat; one request for its tokens, and one for each answer."""

        async def work(asked: Sequence[Message]) -> ReadAnswers:
            prompt = (*await chat_tokens(client, asked, self.fields), *self.begun)
            return await read_positions(client, prompt, self.trie)

        found = await client.attempt(messages, work)
        if isinstance(found, InferenceError):
            return found
        try:
            return predict(
                self.trie,
                found.firsts,
                truncated=truncated,
                review_reasons=review_reasons,
                decode=lambda ids: "".join(found.shown.get(token, "") for token in ids),
            )
        except InferenceError as error:
            return error


async def open_forced(
    client: RemoteClient, settings: RemoteSettings, prompt: RemotePrompt
) -> ForcedAnswers:
    """Look the tokens of the answers up at the endpoint, and answer a built-in text as a test.

    Raises:
        ConfigError: the answers are not distinct, or merge with what precedes them.
        ModelLoadError: the endpoint does not offer what is needed.
    """
    _, forced = await look_up(client, settings, prompt)
    messages = prompt.messages(PROBE)
    tried = await forced.ask(client, messages, truncated=False, review_reasons=())
    if isinstance(tried, InferenceError):
        raise ModelLoadError(
            f"model.base_url: the endpoint does not return the log-probabilities of a prompt"
            f" (prompt_logprobs): {tried}; serve the model with vLLM"
        )
    return forced


async def look_up(
    client: RemoteClient,
    settings: RemoteSettings,
    prompt: RemotePrompt,
    *,
    before: tuple[str, str] = ("", ""),
) -> tuple[tuple[int, ...], ForcedAnswers]:
    """Look the tokens of the answers up at the endpoint.

    Args:
        client: of the endpoint.
        settings: with the task.
        prompt: of the task.
        before: what begins and what ends a reasoning before the answer.

    Returns:
        The tokens of what begins a reasoning, and what is read after its end.

    Raises:
        ConfigError, ModelLoadError: as ``open_forced``.
    """
    task = settings.task
    begin, end = before
    messages = prompt.messages(PROBE)
    known: dict[str, tuple[int, ...]] = {}

    async def ask(asked: Sequence[Message]) -> str:
        tokens = await chat_tokens(client, asked, settings.body)
        reply = await client.post("/detokenize", {"tokens": list(tokens)})
        chat = str(_field(reply, "prompt"))
        wanted = [chat, chat + begin, chat + begin + end + task.answer_prefix]
        wanted += [wanted[2] + form for of_label in task.forms for form in of_label]
        ids = await together([_tokens(client, text) for text in wanted])
        known.update(zip(wanted, ids, strict=True))
        if known[chat] != tokens:
            raise UnreadableError("/detokenize returns a text that has other tokens")
        return chat

    chat = await client.attempt(messages, ask)
    if isinstance(chat, InferenceError):
        raise ModelLoadError(
            f"model.task: answers of several tokens, and after answer_prefix, need the tokens of"
            f" the endpoint ({chat}); serve the model with vLLM, or set scoring: one_token without"
            " answer_prefix"
        )
    started, whole = chat + begin, chat + begin + end + task.answer_prefix
    for shorter, longer, setting in (
        (chat, started, "reasoning.begin"),
        (started, whole, "reasoning.end" if end else "answer_prefix"),
    ):
        if known[longer][: len(known[shorter])] != known[shorter]:
            raise ConfigError(
                f"model.task.{setting}: it merges with the end of the prompt ({shorter[-12:]!r})"
                " into other tokens; begin it with another character"
            )
    begun = known[whole][len(known[started]) :]
    answers = [
        [answer_tokens(form, prompt=whole, encode=known.__getitem__) for form in forms]
        for forms in task.forms
    ]
    forced = ForcedAnswers(begun, build_trie(task.names, answers, end_id=None), settings.body)
    return known[started][len(known[chat]) :], forced


async def chat_tokens(
    client: RemoteClient, messages: Sequence[Message], fields: Mapping[str, Any]
) -> tuple[int, ...]:
    """Return the tokens of a chat, up to the model's turn, as the server renders it."""
    body = {**fields, "messages": list(messages), "add_generation_prompt": True}
    return _ids(await client.post("/tokenize", body))


async def _tokens(client: RemoteClient, text: str) -> tuple[int, ...]:
    body = {"prompt": text, "add_special_tokens": False}
    return _ids(await client.post("/tokenize", body))


def _ids(reply: Any) -> tuple[int, ...]:  # noqa: ANN401 whatever came
    tokens = _field(reply, "tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise UnreadableError("/tokenize returns no tokens")
    return tuple(tokens)


def _field(reply: Any, name: str) -> Any:  # noqa: ANN401 whatever came
    if not isinstance(reply, dict) or name not in reply:
        raise UnreadableError(f"the reply has no field {name}")
    return reply[name]
