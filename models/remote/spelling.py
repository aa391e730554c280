"""Finds answers that are several tokens of the endpoint's model, whose tokenizer is not here.

The first token of an answer of several tokens is another candidate than the answer: an endpoint
that spells "unsafe" as "un" and "safe" returns "safe" with 0.55 and "un" with 0.44, of which only
the first one would be counted.

- At start every answer that is not among the candidates is looked up in the tokenizer, if it is
known, or else repeated by the model, whose tokens show how it is spelled.
- For every text the candidates that may begin a longer answer count as unknown probability.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.failures import UnreadableError

__all__ = ["begun", "refuse_several_tokens"]

_REPEAT: Final = "Repeat the following word exactly, and write nothing else:\n\n{form}"
_REPEAT_TOKENS: Final = 16
# In place of bytes that are not a whole character: the token begins in the middle of one.
_PART: Final = "\ufffd"


def begun(
    candidates: Mapping[str, float], forms: Sequence[Sequence[str]]
) -> tuple[tuple[float, ...], ...]:
    """Return the log-probabilities of the candidates that may begin a longer answer, by label.

    Args:
        candidates: token -> log-probability.
        forms: shape (K, any), the answers of each label.

    Returns:
        Shape (K, any); a candidate may belong to several labels.
    """
    whole = {form for of_label in forms for form in of_label}
    return tuple(
        tuple(
            value
            for token, value in candidates.items()
            if token not in whole and any(_may_begin(token, form) for form in of_label)
        )
        for of_label in forms
    )


def _may_begin(token: str, form: str) -> bool:
    start, part, _ = token.partition(_PART)
    if part:
        return form.startswith(start) and not form[len(start) :].isascii()
    return bool(token) and len(token) < len(form) and form.startswith(token)


async def refuse_several_tokens(
    client: RemoteClient,
    forms: Sequence[Sequence[str]],
    *,
    seen: Sequence[str],
    is_one_token: Callable[[str], bool | None],
    top_logprobs: int,
) -> list[str]:
    """Look every answer up in the tokenizer, or have the model repeat it.

    Args:
        client: of the endpoint.
        forms: shape (K, any), the answers of each label.
        seen: tokens that exist.
        is_one_token: by the tokenizer; returns None if that is not known.
        top_logprobs: number of candidates.

    Returns:
        The answers of which it is still unknown whether they are one token.

    Raises:
        ModelLoadError: an answer is several tokens.
    """
    flat = [form for of_label in forms for form in of_label]
    for form in flat:
        if is_one_token(form) is False:
            raise _several(form, "")
    asked = [form for form in flat if form not in set(seen) and is_one_token(form) is None]
    spelled = await together(
        [
            client.ask(
                [{"role": "user", "content": _REPEAT.format(form=form)}],
                _read_tokens,
                max_tokens=_REPEAT_TOKENS,
                logprobs=True,
                top_logprobs=top_logprobs,
            )
            for form in asked
        ]
    )
    unknown = []
    for form, tokens in zip(asked, spelled, strict=True):
        if isinstance(tokens, InferenceError) or not "".join(tokens).startswith(form):
            unknown.append(form)
        elif tokens[0] != form:
            raise _several(form, f", of which the first is {tokens[0]!r}")
    return unknown


def _read_tokens(choice: Any) -> list[str]:  # noqa: ANN401 the client's, or whatever came
    try:
        return [str(entry.token) for entry in choice.logprobs.content]
    except (AttributeError, TypeError) as error:
        raise UnreadableError("no log-probabilities") from error


def _several(form: str, first: str) -> ModelLoadError:
    return ModelLoadError(
        f"model.task.labels: the endpoint's model spells the answer {form!r} with several"
        f" tokens{first}, so its probability cannot be read from one token; set"
        " model.task.answer_with: letters, list answers that are one token, or set model.method:"
        " prompted"
    )
