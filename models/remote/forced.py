"""Exact probabilities of answers that an endpoint is made to give, token by token.

Candidates of the first token are not enough where an answer is several tokens, or follows a
beginning that is put into the model's mouth: a chat template may write an assistant's message in
another way than the beginning of a reply. So the server renders and tokenises the chat, the
beginning and each answer are appended as tokens, and the server returns the log-probability of
every token of the prompt. The product over an answer's tokens is its probability, whatever its
rank.

vLLM's server offers this: ``/tokenize``, ``/detokenize``, and ``prompt_logprobs`` of completions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.core.probes import PROBE
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_reads import predict
from streamlabel.models.label_scoring.label_tokens import answer_tokens
from streamlabel.models.label_scoring.label_trie import LabelTrie, build_trie
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.failures import UnreadableError
from streamlabel.models.remote.prompt import RemotePrompt

__all__ = ["ForcedAnswers", "open_forced"]

_LEAST: Final = -9000.0  # below, a server means minus infinity


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
        paths = [tokens for of_label in self.trie.answers for tokens in of_label]

        async def work(asked: Sequence[Message]) -> list[_Position]:
            prompt = (*await _chat_tokens(client, asked, self.fields), *self.begun)
            requests = [_positions(client, prompt, tokens) for tokens in paths]
            return [each for found in await together(requests) for each in found]

        found = await client.attempt(messages, work)
        if isinstance(found, InferenceError):
            return found
        shown: dict[int, str] = {}
        numbers: dict[tuple[int, ...], dict[int, float]] = {}
        tops: dict[tuple[int, ...], tuple[int, float]] = {}
        for position in found:
            numbers.setdefault(position.path, {})[position.token] = position.log_probability
            tops[position.path] = position.top
            shown |= position.shown
        firsts = [FirstToken(numbers[path], *tops[path]) for path in self.trie.paths]
        try:
            return predict(
                self.trie,
                firsts,
                truncated=truncated,
                review_reasons=review_reasons,
                decode=lambda ids: "".join(shown.get(token, "") for token in ids),
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
    task = settings.task
    messages = prompt.messages(PROBE)
    known: dict[str, tuple[int, ...]] = {}

    async def look_up(asked: Sequence[Message]) -> str:
        tokens = await _chat_tokens(client, asked, settings.body)
        reply = await client.post("/detokenize", {"tokens": list(tokens)})
        chat = str(_field(reply, "prompt"))
        wanted = [chat, chat + task.answer_prefix]
        wanted += [wanted[1] + form for of_label in task.forms for form in of_label]
        ids = await together([_tokens(client, text) for text in wanted])
        known.update(zip(wanted, ids, strict=True))
        if known[chat] != tokens:
            raise UnreadableError("/detokenize returns a text that has other tokens")
        return chat

    chat = await client.attempt(messages, look_up)
    if isinstance(chat, InferenceError):
        raise ModelLoadError(
            f"model.task: answers of several tokens, and after answer_prefix, need the tokens of"
            f" the endpoint ({chat}); serve the model with vLLM, or set scoring: one_token without"
            " answer_prefix"
        )
    whole = chat + task.answer_prefix
    if known[whole][: len(known[chat])] != known[chat]:
        raise ConfigError(
            f"model.task.answer_prefix: it merges with the end of the prompt ({chat[-12:]!r}) into"
            " other tokens; begin it with another character"
        )
    begun = known[whole][len(known[chat]) :]
    answers = [
        [answer_tokens(form, prompt=whole, encode=known.__getitem__) for form in forms]
        for forms in task.forms
    ]
    forced = ForcedAnswers(begun, build_trie(task.names, answers, end_id=None), settings.body)
    tried = await forced.ask(client, messages, truncated=False, review_reasons=())
    if isinstance(tried, InferenceError):
        raise ModelLoadError(
            f"model.base_url: the endpoint does not return the log-probabilities of a prompt"
            f" (prompt_logprobs): {tried}; serve the model with vLLM"
        )
    return forced


@dataclass(frozen=True, slots=True)
class _Position:
    """What an endpoint says about one token of an answer, after the tokens before it."""

    path: tuple[int, ...]
    token: int
    log_probability: float
    top: tuple[int, float]
    shown: Mapping[int, str]


async def _chat_tokens(
    client: RemoteClient, messages: Sequence[Message], fields: Mapping[str, Any]
) -> tuple[int, ...]:
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


async def _positions(
    client: RemoteClient, prompt: tuple[int, ...], answer: tuple[int, ...]
) -> list[_Position]:
    body = {
        "prompt": [*prompt, *answer],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 1,  # of the token itself, and of the most probable one
    }
    reply = await client.post("/v1/completions", body)
    try:
        rows = reply["choices"][0]["prompt_logprobs"][len(prompt) :]
        found = [
            {int(token): (float(entry["logprob"]), entry) for token, entry in row.items()}
            for row in rows
        ]
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise UnreadableError("no log-probabilities of the prompt") from error
    if len(found) != len(answer) or any(
        token not in row for token, row in zip(answer, found, strict=True)
    ):
        raise UnreadableError("log-probabilities of other tokens than those of the prompt")
    positions = []
    for place, (token, row) in enumerate(zip(answer, found, strict=True)):
        top = max(row, key=lambda each: row[each][0])
        value = row[token][0]
        positions.append(
            _Position(
                answer[:place],
                token,
                value if value > _LEAST else -math.inf,
                (top, row[top][0]),
                {each: str(entry.get("decoded_token") or "") for each, (_, entry) in row.items()},
            )
        )
    return positions


def _field(reply: Any, name: str) -> Any:  # noqa: ANN401 whatever came
    if not isinstance(reply, dict) or name not in reply:
        raise UnreadableError(f"the reply has no field {name}")
    return reply[name]
