"""The only module that calls vLLM: rows of token ids in, numbers or text out.

All requests for labels are by token ids, and none for the top k: on the V1 model runner (CPU,
Ascend) a request of one kind makes results of the other kind in the same batch wrong, without an
error (seen with 0.32). A platform without requests by token id gets requests for the top k only.
"""

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamlabel.errors import InferenceError, ModelError, WorkerError
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.devices.loop_thread import LoopThread
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.worker.running_time import running_timeout

__all__ = ["TOP_K", "CacheCount", "VllmRuntime"]

# k of the fallback; also the maximum number of labels of one request by token id.
TOP_K: Final = 128
_SHUTDOWN_S: Final = 5.0


@dataclass(slots=True)
class CacheCount:
    """Number of prompt tokens so far, and how many came from the prefix cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def ratio(self) -> float:
        """Fraction of prompt tokens from the prefix cache, in [0, 1]."""
        return self.cached_tokens / max(1, self.prompt_tokens)


class VllmRuntime:
    """An engine and its event loop. Its coroutines may be awaited from any other loop.

    A request that takes longer than ``timeout_s`` is aborted in the engine. When the engine ends,
    all current and later requests raise WorkerError.

    Args:
        engine: vLLM's AsyncLLM.
        reads_by_id: see ``platform.Capabilities.label_ids``.
        timeout_s: of one request.
        adapter: LoRARequest for every request, or None.

    Attributes:
        cache: counts of the prefix cache.
    """

    def __init__(
        self,
        engine: Any,  # noqa: ANN401 untyped library
        *,
        reads_by_id: bool,
        timeout_s: float,
        adapter: Any = None,  # noqa: ANN401 untyped library
    ) -> None:
        self.engine = engine
        self.cache = CacheCount()
        self._reads_by_id = reads_by_id
        self._timeout_s = timeout_s
        self._adapter = adapter
        self._loop = LoopThread("vllm")
        self._numbers = itertools.count()
        self._why: str | None = None
        self._lost = asyncio.Event()
        self._is_closed = False

    @property
    def unfinished(self) -> int:
        """Number of requests that the engine has not finished."""
        return int(self.engine.output_processor.get_num_unfinished_requests())

    async def first_tokens(
        self,
        rows: Sequence[Sequence[int]],
        wanted: Sequence[Sequence[int]],
        *,
        timeout_s: float | None = None,
    ) -> list[FirstToken]:
        """Return the distribution of the token after each row.

        Args:
            rows: token ids, at least one each.
            wanted: for each row, the token ids whose log-probabilities are needed; at most 128.
            timeout_s: in place of the default.

        Raises:
            InferenceError: a request failed or timed out; all requests of the call are aborted.
            WorkerError: the engine is dead.
        """
        return await self._all(
            [self._first_token(*pair, timeout_s) for pair in zip(rows, wanted, strict=True)]
        )

    async def token_probabilities(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> list[dict[int, float]]:
        """Return the probabilities of the wanted tokens after each row, over the vocabulary.

        Those that an engine does not return, because it returns the most probable only, are absent.

        Raises:
            InferenceError, WorkerError: as ``first_tokens``.
        """
        firsts = await self.first_tokens(rows, wanted)
        return [
            {token: math.exp(p) for token, p in first.log_probabilities.items() if token in ids}
            for first, ids in zip(firsts, wanted, strict=True)
        ]

    async def logits(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the head's raw outputs for each row; for engines on the pooling runner.

        Raises:
            InferenceError, WorkerError: as ``first_tokens``.
        """
        return await self._all([self._logits(row) for row in rows])

    async def write(
        self,
        rows: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        pattern: str | None,
        end_ids: Sequence[int],
    ) -> list[list[int]]:
        """Return the tokens that the model generates after each row, greedily.

        Args:
            rows: token ids, at least one each.
            max_tokens: of the text.
            pattern: of the whole text; None: anything.
            end_ids: tokens that end it, besides the tokenizer's own; left out.

        Raises:
            InferenceError, WorkerError: as ``first_tokens``.
        """
        return await self._all([self._write(row, max_tokens, pattern, end_ids) for row in rows])

    async def think(
        self,
        rows: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stop: int,
        heats: Sequence[float],
        seeds: Sequence[int | None],
    ) -> list[list[int]]:
        """Return the tokens that the model generates after each row, up to ``stop``.

        Args:
            rows: token ids, at least one each.
            max_tokens: of the tokens.
            stop: ends them, besides the end of a turn; the one that did is the last token.
            heats: temperature of each row; 0: greedy.
            seeds: of each row's sampling; None where it is greedy, and on a CPU: there a seed ends
                the engine as soon as a prompt is computed in chunks (vLLM 0.32 rewinds the
                generator, which torch's generator for the CPU cannot do).

        Raises:
            InferenceError, WorkerError: as ``first_tokens``.
        """
        return await self._all(
            [
                self._think(row, max_tokens, stop, heat, seed)
                for row, heat, seed in zip(rows, heats, seeds, strict=True)
            ]
        )

    def call(self, work: Any) -> Any:  # noqa: ANN401 a coroutine and its result
        """Run a coroutine of this object and block; used while loading."""
        return self._loop.call(work)

    async def run(self, work: Any) -> Any:  # noqa: ANN401 a coroutine and its result
        """Run a coroutine in the engine's loop, from any other loop."""
        return await self._loop.run(work)

    def give_up(self, why: str) -> None:
        """Mark the engine as lost, so that ``lost`` returns; call this in the engine's loop."""
        self._why = self._why or why
        self._lost.set()

    def watch(self, canary: Coroutine[Any, Any, str]) -> None:
        """Start a canary; when it returns, the engine is marked as lost."""

        async def guard() -> None:
            self.give_up(await canary)

        self._loop.start(guard())

    async def lost(self) -> str:
        """Wait until the engine is lost, and return the reason as a clause."""
        await self._loop.run(self._lost.wait())
        return self._why or "was lost"

    def close(self) -> None:
        """End the engine's processes; blocks for up to a few seconds; safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        # Cancelled before the engine is shut down, which it would report as a failure.
        self._loop.cancel(self.engine.output_handler)
        self.engine.shutdown(timeout=_SHUTDOWN_S)
        self._loop.stop()

    async def _all(self, requests: list[Any]) -> list[Any]:
        if self._is_closed:
            for request in requests:
                request.close()
            raise ModelError("the classifier is closed")
        return await self._loop.run(together(requests))

    async def _first_token(
        self, row: Sequence[int], wanted: Sequence[int], timeout_s: float | None
    ) -> FirstToken:
        read = {"logprob_token_ids": list(wanted)} if self._reads_by_id else {"logprobs": TOP_K}
        params = _greedy(max_tokens=1, **read)
        output = await self._request(self.engine.generate, row, params, timeout_s)
        (top_id,) = output.outputs[0].token_ids
        numbers = {
            int(token): float(entry.logprob)
            for token, entry in (output.outputs[0].logprobs or [{}])[0].items()
        }
        return FirstToken(numbers, int(top_id), numbers.get(int(top_id), float("nan")))

    async def _logits(self, row: Sequence[int]) -> list[float]:
        from vllm import PoolingParams

        params = PoolingParams(task="classify", use_activation=False)
        output = await self._request(self.engine.encode, row, params, None)
        return [float(number) for number in output.outputs.data.reshape(-1)]

    async def _write(
        self, row: Sequence[int], max_tokens: int, pattern: str | None, end_ids: Sequence[int]
    ) -> list[int]:
        from vllm.sampling_params import StructuredOutputsParams

        guide = StructuredOutputsParams(regex=pattern) if pattern is not None else None
        params = _greedy(max_tokens=max_tokens, structured_outputs=guide, stop_token_ids=[*end_ids])
        output = await self._request(self.engine.generate, row, params, None)
        tokens = [int(token) for token in output.outputs[0].token_ids]
        return tokens[:-1] if tokens and tokens[-1] in end_ids else tokens

    async def _think(
        self, row: Sequence[int], max_tokens: int, stop: int, heat: float, seed: int | None
    ) -> list[int]:
        params = _sampling(heat, max_tokens=max_tokens, stop_token_ids=[stop], seed=seed)
        output = await self._request(self.engine.generate, row, params, None)
        return [int(token) for token in output.outputs[0].token_ids]

    async def _request(
        self,
        ask: Callable[..., AsyncIterator[Any]],
        row: Sequence[int],
        params: Any,  # noqa: ANN401 vLLM's
        timeout_s: float | None,
    ) -> Any:  # noqa: ANN401 vLLM's
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        limit_s = timeout_s or self._timeout_s
        prompt = tokens_input([int(token) for token in row])
        number = f"streamlabel-{next(self._numbers)}"
        try:
            async with running_timeout(limit_s):
                output = await _last(ask(prompt, params, number, lora_request=self._adapter))
        except TimeoutError:
            raise InferenceError(
                f"the engine did not answer within {limit_s:g} s; the request was aborted"
            ) from None
        # Any other exception of vLLM concerns this request alone; its message may quote the text.
        except Exception as error:
            if isinstance(error, EngineDeadError) or getattr(self.engine, "errored", False):
                self.give_up("vLLM's engine process died")
                raise WorkerError("vLLM's engine process died") from error
            raise InferenceError(f"vLLM refuses this text: {type(error).__name__}") from None
        self.cache.prompt_tokens += len(row)
        self.cache.cached_tokens += int(getattr(output, "num_cached_tokens", 0) or 0)
        return output


def _greedy(**given: Any) -> Any:  # noqa: ANN401 vLLM's
    return _sampling(0.0, **given)


def _sampling(heat: float, **given: Any) -> Any:  # noqa: ANN401 vLLM's
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    given["output_kind"] = RequestOutputKind.FINAL_ONLY
    return SamplingParams(temperature=heat, detokenize=False, **given)


async def _last(outputs: AsyncIterator[Any]) -> Any:  # noqa: ANN401 vLLM's
    async with contextlib.aclosing(outputs) as stream:  # type: ignore[type-var] # a generator
        last = None
        async for output in stream:
            last = output
        return last
