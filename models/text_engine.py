"""What prompted scores need from whatever runs the model: transformers, vLLM, a remote endpoint."""

from collections.abc import Sequence
from typing import Any, Protocol

from streamlabel.errors import InferenceError
from streamlabel.models.base import ModelInfo, PreparedText
from streamlabel.models.score_json import Fault

__all__ = ["TextEngine"]


class TextEngine(Protocol):
    """Writes text. Neither call blocks the event loop; both may run at the same time."""

    @property
    def info(self) -> ModelInfo:
        """Which model this is; the back end is ``prompted``."""
        ...

    @property
    def max_in_flight(self) -> int:
        """Batches it wants at the same time."""
        ...

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Return the prompt of each text, or an InferenceError for that text alone.

        Args:
            texts: any str, also empty.
            faults: same length; where not None, the prompt says what was wrong with the first
                answer (``wording.second_try``).

        Returns:
            Same order and length; the payload is the engine's own and must pickle.
        """
        ...

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Return what the model writes, at temperature 0, for each prompt.

        Args:
            prompts: from ``encode``.
            max_tokens: of an answer; a longer one is cut.
            json_schema: guides the answer where the engine can; the others ignore it.

        Raises:
            InferenceError: the batch as a whole failed; the caller retries and splits it.
            DeviceMemoryError: the batch does not fit.
        """
        ...

    async def close(self) -> None:
        """Release the model; safe to call twice; later calls of the others raise ModelError."""
        ...
