"""Requests to an OpenAI-compatible endpoint, with retries.

- Failures of any kind are retried with exponential back-off and jitter for up to
``outage_timeout_s``; a Retry-After delays all requests.
- Before anything is blamed, a fixed text is sent. If that is answered, the failure is the error of
that text alone; if not, the endpoint is down, and retries continue.
- A refusal of the fixed text, too (key, model, form), stops the service; no record is lost.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar

import structlog

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import InferenceError, WorkerGaveUpError
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.remote.failures import (
    Failure,
    UnreadableError,
    first_choice,
    of_connection,
    of_status,
)
from streamlabel.models.worker.running_time import Deadline

__all__ = ["CONTINUED", "RemoteClient"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_WAIT_S: Final = 30.0
# With these fields, vLLM's server and some others continue the last message.
CONTINUED: Final[Mapping[str, bool]] = MappingProxyType(
    {"continue_final_message": True, "add_generation_prompt": False}
)


class RemoteClient:
    """Requests chat completions; at most ``concurrency`` at a time.

    Created outside of event loops, because it reads files, and used in one.

    Args:
        settings: address, retries and timeouts.
        fixed: messages that any working endpoint answers.
        served: name of the model in the replies; a reply of another one is a failure. None: the
            first reply says it.
        jitter: random factor of the back-off.

    Attributes:
        served: name of the model in the replies so far; None if they have none.
    """

    def __init__(
        self,
        settings: RemoteSettings,
        *,
        fixed: Sequence[Message],
        served: str | None = None,
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
        self.served = served
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
        """Return what ``read`` makes of the first choice of a completion; see ``attempt``.

        Args:
            messages: the chat.
            read: raises UnreadableError if the choice is malformed.
            max_tokens: of the answer.
            options: further fields of the request.
        """
        work = partial(self._chat, read=read, max_tokens=max_tokens, options=options)
        return await self.attempt(messages, work)

    async def attempt(
        self, messages: Sequence[Message], work: Callable[[Sequence[Message]], Awaitable[T]]
    ) -> T | InferenceError:
        """Return the result of ``work`` for a chat, or an InferenceError for this text alone.

        Args:
            messages: the chat.
            work: its requests, by ``post``; raises UnreadableError if a reply is malformed. It is
                done again after a failure, and for the fixed text.

        Raises:
            WorkerGaveUpError: the endpoint fails on every text, or refuses the requests.
        """
        overdue = asyncio.Event()
        limit_s = self._settings.outage_timeout_s
        send = partial(self._try, work=work)
        async with self._slots:
            outage = Deadline(limit_s, lambda _: overdue.set())
            try:
                for tries in itertools.count(1):
                    await self._hold_back()
                    outcome = await send(messages)
                    if not isinstance(outcome, Failure):
                        return outcome
                    is_late = overdue.is_set()
                    # Judged before giving up the endpoint, too: slow failures on one text may take
                    # as long as an outage.
                    if is_late or outcome.is_refusal or self._is_enough(outcome, tries):
                        judged = await self._judge(outcome, messages, send)
                        if not isinstance(judged, Failure):
                            return judged
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

    def _wait_s(self, tries: int, failure: Failure) -> float:
        if failure.retry_after_s:
            until_s = time.monotonic() + min(failure.retry_after_s, self._settings.outage_timeout_s)
            self._not_before_s = max(self._not_before_s, until_s)
        # 2**16 exceeds MAX_WAIT_S for every first wait; a larger exponent would overflow in an
        # outage.
        longest = min(MAX_WAIT_S, self._settings.retry_backoff_s * 2.0 ** min(tries - 1, 16))
        return longest * (0.5 + 0.5 * self._jitter())

    def _is_enough(self, failure: Failure, tries: int) -> bool:
        """Return whether the fixed text is asked now; under load, only at the outage limit."""
        return tries >= self._settings.max_tries and not failure.is_of_load

    async def _judge(
        self,
        failure: Failure,
        messages: Sequence[Message],
        send: Callable[[Sequence[Message]], Awaitable[T | Failure]],
    ) -> T | InferenceError | Failure:
        """Send the fixed text and the text in turns; return what the text has in the end.

        Returns:
            The answer of a turn; the error of the text, if the fixed text is always answered and
            the text never; the failure, if the fixed text fails, too.

        Raises:
            WorkerGaveUpError: the endpoint refuses the fixed text.
        """
        if list(messages) == list(self._fixed):
            if failure.is_refusal and failure.is_of_access:
                self._refuse_all(failure)
            return failure.error() if failure.is_refusal else failure
        for turn in itertools.count(1):
            fixed = await send(self._fixed)
            if isinstance(fixed, Failure):
                if fixed.is_refusal:
                    self._refuse_all(fixed)
                return failure
            if turn >= failure.rounds:
                return failure.error()
            outcome = await send(messages)
            if not isinstance(outcome, Failure):
                return outcome
        raise AssertionError("the turns have no end. This is a bug.")

    async def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 whatever comes
        """Return the JSON of a reply to a request of another kind; for ``work`` of ``attempt``.

        Args:
            path: from the root of the server on, ``/v1/completions`` for example.
            body: without the model; of a chat with the fields of the settings.
        """
        url = self._settings.base_url.rstrip("/").removesuffix("/v1") + path
        whole = {"model": self._settings.model, **body}
        reply: Any = await self._client.post(url, cast_to=object, body=whole)
        if isinstance(reply, dict):
            self._refuse_another(reply.get("model"))
        return reply

    async def _chat(
        self,
        messages: Sequence[Message],
        read: Callable[[Any], T],
        max_tokens: int,
        options: dict[str, Any],
    ) -> T:
        body = self._settings.body
        if messages[-1]["role"] == "assistant":
            body |= CONTINUED
        request = {
            "model": self._settings.model,
            "messages": list(messages),
            "temperature": 0,
            self._settings.token_limit_field: max_tokens,
            "extra_body": body or None,
            **options,
        }
        reply = await self._create(**request)
        self._refuse_another(getattr(reply, "model", None))
        return read(first_choice(reply))

    def _refuse_another(self, name: object) -> None:
        """Refuse a reply of another model: its probabilities are not those that were calibrated."""
        if not isinstance(name, str) or not name:
            return
        self.served = self.served or name
        if name != self.served:
            raise UnreadableError(
                f"it comes from the model {name[:80]!r}, the ones before from {self.served[:80]!r};"
                " if the model was replaced, start the service again"
            )

    async def _try(
        self, messages: Sequence[Message], work: Callable[[Sequence[Message]], Awaitable[T]]
    ) -> T | Failure:
        try:
            # The client's own timeout applies between two bytes; a slow reply could last for ever.
            async with asyncio.timeout(self._settings.request_timeout_s):
                return await work(messages)
        except (TimeoutError, self._openai.APITimeoutError):
            failure = Failure("no reply in time")
        except self._openai.APIStatusError as error:
            failure = of_status(error.status_code, error.response.headers)
        except self._openai.APIConnectionError:
            failure = of_connection()
        except UnreadableError as error:
            failure = Failure(f"an unreadable reply: {error}")
        # A body that is not JSON or has another structure; its text may quote the request.
        except (ValueError, self._openai.APIError) as error:
            failure = Failure(f"an unreadable reply ({type(error).__name__})")
        log.warning("endpoint_failed", what=failure.what)
        return failure

    def _refuse_all(self, failure: Failure) -> NoReturn:
        self._give_up(f"refuses every request with {failure.what}; {failure.advice}")

    def _give_up(self, why: str) -> NoReturn:
        raise WorkerGaveUpError(f"the endpoint {self._settings.base_url} {why}")
