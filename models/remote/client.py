"""Requests to an OpenAI-compatible endpoint, with retries.

- Rate limits, server errors, timeouts and unreadable replies are retried with exponential back-off
and jitter for up to ``outage_timeout_s``; a Retry-After delays all requests.
- If the endpoint repeatedly fails on a text, a fixed text is sent. If that is answered, the failure
is the error of that text alone; if not, the endpoint is down, and retries continue.
- A refusal that affects every request (key, model) stops the service; no record is lost.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import structlog

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import InferenceError, WorkerGaveUpError
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.worker.running_time import Deadline

__all__ = ["RemoteClient", "UnreadableError"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_WAIT_S: Final = 30.0
_ABOUT_THE_TEXT: Final = {400, 413, 422}
_ABOUT_EVERYTHING: Final = {401, 402, 403, 404}


class UnreadableError(Exception):
    """The endpoint's reply violates the protocol."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed request that may succeed if it is repeated.

    Attributes:
        what: for logs and messages, without the text.
        retry_after_s: the wait that the endpoint requests.
        may_be_the_text: the text may be the cause, so that another text might succeed.
    """

    what: str
    retry_after_s: float = 0.0
    may_be_the_text: bool = True


class RemoteClient:
    """Requests chat completions; at most ``concurrency`` at a time.

    Created outside of event loops, because it reads files, and used in one.

    Args:
        settings: address, retries and timeouts.
        fixed: messages that any working endpoint answers.
        jitter: random factor of the back-off.
    """

    def __init__(
        self,
        settings: RemoteSettings,
        *,
        fixed: Sequence[Message],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        import openai

        key = settings.api_key.get_secret_value() if settings.api_key else "none"
        self._openai = openai
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=key,
            timeout=settings.request_timeout_s,
            max_retries=0,  # the client's own retries would ignore the rules above
        )
        # Both read files on first use, which would block the event loop.
        self._create = self._client.chat.completions.create
        self._client.platform_headers()
        self._settings = settings
        self._fixed = fixed
        self._jitter = jitter
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._not_before_s = 0.0

    async def ask(
        self,
        messages: Sequence[Message],
        read: Callable[[Any], T],
        *,
        max_tokens: int,
        **options: Any,  # noqa: ANN401 fields of the protocol
    ) -> T | InferenceError:
        """Return the result of ``read`` for the reply, or an InferenceError for this text alone.

        Args:
            messages: the chat.
            read: receives the first choice; raises UnreadableError if that is malformed.
            max_tokens: of the answer.
            options: further fields of the request.

        Raises:
            WorkerGaveUpError: the endpoint fails on every text, or refuses the requests.
        """
        overdue = asyncio.Event()
        limit_s = self._settings.outage_timeout_s
        async with self._slots:
            outage = Deadline(limit_s, lambda _: overdue.set())
            try:
                for tries in itertools.count(1):
                    await self._hold_back()
                    outcome = await self._try(messages, read, max_tokens, options)
                    if not isinstance(outcome, _Failure):
                        return outcome
                    is_late = overdue.is_set()
                    # Checked before giving up the endpoint, too: slow failures on one text may take
                    # as long as an outage.
                    if (
                        outcome.may_be_the_text
                        and (is_late or tries >= self._settings.max_tries)
                        and await self._is_well(read, max_tokens, options)
                    ):
                        return InferenceError(f"the endpoint fails on this text: {outcome.what}")
                    if is_late:
                        self._give_up(f"has failed for {limit_s:g} s, last with {outcome.what}")
                    await asyncio.sleep(self._wait_s(tries, outcome))
            finally:
                outage.cancel()
        raise AssertionError("the retry loop has no end. This is a bug.")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _hold_back(self) -> None:
        # Another reply may have extended the wait meanwhile.
        while (wait_s := self._not_before_s - time.monotonic()) > 0:  # noqa: ASYNC110 see above
            await asyncio.sleep(wait_s)

    def _wait_s(self, tries: int, failure: _Failure) -> float:
        if failure.retry_after_s:
            until_s = time.monotonic() + min(failure.retry_after_s, self._settings.outage_timeout_s)
            self._not_before_s = max(self._not_before_s, until_s)
        # 2**16 exceeds MAX_WAIT_S for every first wait; a larger exponent would overflow in an
        # outage.
        longest = min(MAX_WAIT_S, self._settings.retry_backoff_s * 2.0 ** min(tries - 1, 16))
        return longest * (0.5 + 0.5 * self._jitter())

    async def _is_well(
        self, read: Callable[[Any], object], max_tokens: int, options: dict[str, Any]
    ) -> bool:
        outcome = await self._try(self._fixed, read, max_tokens, options)
        return not isinstance(outcome, (_Failure, InferenceError))

    async def _try(
        self,
        messages: Sequence[Message],
        read: Callable[[Any], T],
        max_tokens: int,
        options: dict[str, Any],
    ) -> T | InferenceError | _Failure:
        request = {
            "model": self._settings.model,
            "messages": list(messages),
            "temperature": 0,
            self._settings.token_limit_field: max_tokens,
            "extra_body": self._settings.extra_body or None,
            **options,
        }
        try:
            # The client's own timeout applies between two bytes; a slow reply could last for ever.
            async with asyncio.timeout(self._settings.request_timeout_s):
                reply = await self._create(**request)
            return read(_first_choice(reply))
        except (TimeoutError, self._openai.APITimeoutError):
            failure = _Failure("no reply in time")
        except self._openai.APIStatusError as error:
            if error.status_code in _ABOUT_THE_TEXT:
                return InferenceError(
                    f"the endpoint refuses this text (status {error.status_code})"
                )
            failure = self._judge(error.status_code, error.response.headers)
        except self._openai.APIConnectionError:
            failure = _Failure("no connection", may_be_the_text=False)
        except UnreadableError as error:
            failure = _Failure(f"an unreadable reply: {error}")
        # A body that is not JSON or has another structure; its text may quote the request.
        except (ValueError, self._openai.APIError) as error:
            failure = _Failure(f"an unreadable reply ({type(error).__name__})")
        log.warning("endpoint_failed", what=failure.what)
        return failure

    def _judge(self, status: int, headers: Any) -> _Failure:  # noqa: ANN401 httpx's
        if status in _ABOUT_EVERYTHING:
            self._give_up(
                f"refuses requests with status {status}; check model.base_url, model.model and"
                " model.api_key"
            )
        return _Failure(
            f"status {status}",
            retry_after_s=_seconds(headers.get("retry-after")),
            may_be_the_text=status >= 500 and status != 503,
        )

    def _give_up(self, why: str) -> NoReturn:
        raise WorkerGaveUpError(f"the endpoint {self._settings.base_url} {why}")


def _first_choice(reply: Any) -> Any:  # noqa: ANN401 the client's, or whatever came
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise UnreadableError("the reply has no choices")
    return choices[0]


def _seconds(header: str | None) -> float:
    """Return a Retry-After in seconds; its other form, a date, is ignored for our back-off."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0
