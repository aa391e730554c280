"""Proof at start that an engine computes a model as the model's own code does.

An engine has its own code for every architecture, and leaves out what that does not know, without
an error: scaled logits, soft caps, a sliding window. Each start therefore compares eight prompts
with one plain forward pass of transformers, which is computed on the CPU while the engine starts.
"""

import os
import pickle
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import structlog

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ModelError, ModelLoadError
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.vllm.plain_forward import Asked, Probabilities
from streamlabel.models.worker.early_process import module_command

__all__ = ["OwnForward", "Read", "differences", "judge", "start_own_forward"]

logger = structlog.get_logger(__name__)

# Rows and, for each, the token ids or outputs to read -> their probabilities.
Read = Callable[
    [Sequence[Sequence[int]], Sequence[Sequence[int]]], Awaitable[Sequence[Probabilities]]
]

_GIB: Final = 2**30
_LIBRARIES_BYTES: Final = _GIB
_SPARE: Final = 1.1  # of the weights: what a forward pass of short rows needs besides them
# How long an engine that is ready waits for the comparison, unless the setting demands it.
_PATIENCE_S: Final = 60.0
_NEVER: Final = "model.own_forward is never"
_MODULE: Final = "streamlabel.models.vllm.plain_forward"

# Tolerated difference of a probability, by data type: the largest one, and the mean over the rows
# of each row's largest. In 16 bits the kernels of two devices round logits differently, which can
# move single probabilities by several hundredths, so a small omission is only found in float32.
_LARGEST: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "bfloat16": 0.15, "float16": 0.15}
)
_MEAN: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.05}
)


def start_own_forward(
    settings: VllmSettings,
    asked: Asked,
    *,
    engine_bytes: int,
    free_bytes: int,
) -> "OwnForward":
    """Start the process, if the memory suffices and transformers can compute this model.

    Args:
        settings: ``own_forward`` says whether it must be compared.
        asked: what to compute.
        engine_bytes: memory of this machine that the engine will take.
        free_bytes: memory of this machine that is available now.

    Raises:
        ModelLoadError: ``own_forward: always``, and it is impossible.
    """
    why_not = _why_not(settings, asked, engine_bytes, free_bytes)
    own = OwnForward(asked, is_required=settings.own_forward == "always")
    if why_not:
        own.give_up(why_not)
    else:
        own.start()
    return own


def _why_not(settings: VllmSettings, asked: Asked, engine_bytes: int, free_bytes: int) -> str:
    if settings.own_forward == "never":
        return _NEVER
    if settings.quantization or asked.checkpoint.config.get("quantization_config"):
        return "the weights are quantised, which transformers computes in another way"
    own_bytes = _memory_bytes(asked.checkpoint, asked.dtype)
    if engine_bytes + own_bytes > free_bytes:
        return (
            f"it takes {own_bytes / _GIB:.1f} GiB of memory besides the engine's"
            f" {engine_bytes / _GIB:.1f}, and {free_bytes / _GIB:.1f} are available"
        )
    return ""


def _memory_bytes(checkpoint: Checkpoint, dtype: str) -> int:
    """Return what the process takes; files in 16 bits double in float32."""
    stored = str(checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype") or "")
    doubles = dtype == "float32" and stored in {"bfloat16", "float16"}
    size = checkpoint.weights().size_bytes * (2 if doubles else 1)
    return int(size * _SPARE) + _LIBRARIES_BYTES


@dataclass(frozen=True, slots=True)
class _Given:
    """What the process answered: the probabilities of each row, or why there are none."""

    rows: Sequence[Probabilities]
    why_not: str = ""


class OwnForward:
    """The model's own forward pass, while it is computed and when it is compared.

    Args:
        asked: what to compute.
        is_required: without it the engine must not start.
    """

    def __init__(self, asked: Asked, *, is_required: bool) -> None:
        self._asked = asked
        self._is_required = is_required
        self._process: subprocess.Popen[bytes] | None = None
        self._why_not = ""

    def start(self) -> None:
        """Start the process that computes it."""
        try:
            with tempfile.TemporaryFile() as asked:
                pickle.dump(self._asked, asked)
                asked.seek(0)
                self._process = subprocess.Popen(  # noqa: S603 this program itself
                    module_command(_MODULE),
                    stdin=asked,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # its reasons come with the answer
                    # it computes on the CPU: no package of a device is needed
                    env=os.environ | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
                )
        except OSError as error:
            self.give_up(f"its process cannot be started: {error}")

    def give_up(self, why: str) -> None:
        """Do without it.

        Raises:
            ModelLoadError: it is required.
        """
        self._why_not = why
        if self._is_required:
            raise ModelLoadError(
                f"model.own_forward: always, but the engine cannot be compared with the model's own"
                f" forward pass: {why}; set auto to start without"
            )

    def prove(self, call: Callable[[Awaitable[Any]], Any], read: Read) -> str:
        """Compare the engine with it, and end the process; blocks.

        Args:
            call: runs a coroutine of the engine.
            read: reads the engine.

        Returns:
            The result, for ``streamlabel check``.

        Raises:
            ModelLoadError: the engine's probabilities are not those of the model, or cannot be
                compared although they must.
        """
        given = self._answer()
        if given.why_not:
            tell = logger.info if given.why_not == _NEVER else logger.warning
            tell("own_forward_not_compared", why=given.why_not)
            return f"not compared: {given.why_not}"
        ids = [sorted(row) for row in given.rows]
        try:
            found: Sequence[Probabilities] = call(read(self._asked.question.rows, ids))
        except ModelError as error:
            raise ModelLoadError(
                f"model.path: the engine refuses a test prompt ({error}); use the vLLM version of"
                " docs/platforms.md"
            ) from error
        return judge(differences(given.rows, found), self._asked.dtype)

    def close(self) -> None:
        """Kill the process, if it still runs."""
        process, self._process = self._process, None
        if process is not None:
            with process:  # closes its pipe and waits
                process.kill()

    def _answer(self) -> _Given:
        if self._process is None:
            return _Given((), self._why_not)
        try:
            patience_s = None if self._is_required else _PATIENCE_S
            written, _ = self._process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.give_up(f"it was not ready within {_PATIENCE_S:g} s after the engine")
            return _Given((), self._why_not)
        finally:
            status = self._process.poll()
            self.close()
        if status or not written:
            self.give_up(f"its process ended with status {status}")
            return _Given((), self._why_not)
        answer = pickle.loads(written)  # noqa: S301 from our own child process
        if isinstance(answer, str):
            self.give_up(answer)
            return _Given((), self._why_not)
        return _Given(answer)


def judge(moved: Sequence[float], dtype: str) -> str:
    """Return the result for ``streamlabel check``.

    Args:
        moved: the largest difference of a probability for each row.
        dtype: of the weights.

    Raises:
        ModelLoadError: they are more than rounding explains.
    """
    largest, mean = max(moved), sum(moved) / len(moved)
    if not (largest <= _LARGEST[dtype] and mean <= _MEAN[dtype]):  # NaN is too far, too
        raise ModelLoadError(
            f"model.path: on this engine a probability differs by {largest:.2g} from that of the"
            f" model's own forward pass (mean of {len(moved)} prompts: {mean:.2g}); use another"
            " version of vLLM, or the generative or encoder back end. model.own_forward: never"
            " starts all the same"
        )
    return f"differs by {largest:.1g} at most ({len(moved)} prompts)"


def differences(own: Sequence[Probabilities], engine: Sequence[Probabilities]) -> list[float]:
    """Return the largest difference of a probability for each row.

    An engine that returns its most probable tokens only is compared by those; a token that it
    should have returned and did not counts as 0.
    """
    return [
        max(abs(p - other.get(token, 0.0)) for token, p in row.items())
        for row, other in zip(own, engine, strict=True)
    ]
