"""What reads an engine for a task: texts to rows, and rows to predictions."""

from collections.abc import Sequence
from typing import Protocol

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.vllm.plain_forward import Probabilities

__all__ = ["Reader"]


class Reader(Protocol):
    """Turns texts into rows and rows into predictions."""

    def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the row of each text; blocks."""
        ...

    async def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return one prediction per prepared text, in order."""
        ...

    async def probabilities(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> Sequence[Probabilities]:
        """Return what ``own_forward`` compares: by token id, or by number of the output.

        Args:
            rows: token ids.
            wanted: for each row, the tokens or outputs; others may be returned, too.
        """
        ...
