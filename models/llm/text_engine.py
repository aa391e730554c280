"""The interface of prompted scores to the engine: transformers, vLLM or a remote endpoint."""

from collections.abc import Sequence
from typing import Any, Protocol

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, PreparedText
from streamlabel.models.prompts.score_json import Fault

__all__ = ["TextEngine"]


class TextEngine(Protocol):
    """Generates text. Neither call blocks the event loop; both may run concurrently."""

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model; the back end is ``prompted``."""
        ...

    @property
    def hints(self) -> BatchHints:
        """How its batches should be formed."""
        ...

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Return the prompt of each text, or an InferenceError for that text alone.

        Args:
            texts: any str, also empty.
            faults: same length; if not None, the prompt describes what was wrong with the first
                answer (``phrases.second_try``).

        Returns:
            Same order and length; the payload is specific to the engine and must be picklable.
        """
        ...

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Return the text that the model generates, at temperature 0, for each prompt.

        Args:
            prompts: from ``encode``.
            max_tokens: of an answer; a longer one is cut.
            json_schema: for guided decoding; engines without it ignore the schema.

        Raises:
            InferenceError: the batch as a whole failed; the caller retries and splits it.
            DeviceMemoryError: the batch does not fit.
        """
        ...

    async def close(self) -> None:
        """Release the model; safe to call twice; later calls of the others raise ModelError."""
        ...
