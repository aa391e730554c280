"""Failed requests: what each kind of failure says about the text and about the endpoint. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamlabel.errors import InferenceError

__all__ = ["Failure", "UnreadableError", "first_choice", "of_connection", "of_status"]

_ABOUT_THE_TEXT: Final = {400, 413, 422}
# Of 400 to 499, those that a later request may not get.
_PASSING: Final = {408, 409, 425, 429}
_ABOUT_LOAD: Final = {429, 503}
_ABOUT_ACCESS: Final = {401, 402, 403, 404}

# How often text and fixed text are sent in turns before the text is blamed. An overloaded endpoint
# refuses at random, so that the fixed text passes once and the text fails once says nothing; in
# three turns that happens by accident in 1 of 64 cases at a refusal rate of 50 %, after the text
# has failed for the whole outage limit. A key that is being exchanged is refused once.
_ROUNDS_UNDER_LOAD: Final = 3
_ROUNDS_OF_ACCESS: Final = 2


class UnreadableError(Exception):
    """The endpoint's reply violates the protocol."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request.

    The reply alone never says whose fault it is: a firewall refuses one text with the status of a
    wrong key, a proxy reports one text that crashes its server as an overload. So for every
    failure a fixed text decides, see ``RemoteClient``.

    Attributes:
        what: for logs and messages, without the text.
        retry_after_s: the wait that the endpoint requests.
        is_refusal: the endpoint refused to compute, which waiting does not change.
        is_of_access: by its status it concerns every request (key, model), whatever its form.
        is_of_load: it also occurs at random while the endpoint is overloaded.
        rounds: how often the text must fail, and the fixed text be answered, to blame the text.
        advice: the settings to check if the fixed text is refused as well.
    """

    what: str
    retry_after_s: float = 0.0
    is_refusal: bool = False
    is_of_access: bool = False
    is_of_load: bool = False
    rounds: int = 1
    advice: str = ""

    def error(self) -> InferenceError:
        """Return the error of the text, once the endpoint has answered the fixed text."""
        verb = "refuses" if self.is_refusal else "fails on"
        return InferenceError(f"the endpoint {verb} this text: {self.what}")


def of_status(status: int, headers: Mapping[str, str]) -> Failure:
    """Return the failure that a status other than 2xx means."""
    is_refusal = 400 <= status < 500 and status not in _PASSING
    is_of_load = status in _ABOUT_LOAD
    rounds = _ROUNDS_UNDER_LOAD if is_of_load else _ROUNDS_OF_ACCESS if is_refusal else 1
    is_of_access = status in _ABOUT_ACCESS
    about = "model.api_key" if is_of_access else "model.extra_body"
    return Failure(
        f"status {status}",
        retry_after_s=_seconds(headers.get("retry-after")),
        is_refusal=is_refusal,
        is_of_access=is_of_access,
        is_of_load=is_of_load,
        rounds=1 if status in _ABOUT_THE_TEXT else rounds,
        advice=f"check model.base_url, model.model and {about}",
    )


def of_connection() -> Failure:
    """Return the failure of a connection that was refused or closed."""
    return Failure("no connection", is_of_load=True, rounds=_ROUNDS_UNDER_LOAD)


def _seconds(header: str | None) -> float:
    """Return a Retry-After in seconds; its other form, a date, is ignored for our back-off."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0


def first_choice(reply: Any) -> Any:  # noqa: ANN401 the client's, or whatever came
    """Return the first choice of a reply; raise UnreadableError if there is none."""
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise UnreadableError("the reply has no choices")
    return choices[0]
