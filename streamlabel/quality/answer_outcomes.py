"""What happens to the answers about each label of a multi-label task."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.quality.evaluation import Scored
from streamlabel.quality.guarantees import Guarantee, Result

__all__ = ["AnswerOutcome", "answer_outcomes"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AnswerOutcome:
    """Multi-label: what happened to the answers about one label.

    Attributes:
        texts: evaluated.
        sure: of those, with a sure answer about this label.
        accepted: of those, without review: every answer is sure.
        wrong: of those accepted, with a wrong answer about this label.
        missed: of those wrong, with the label.
        target: error rate that the calibration guarantees; None: none.
        result: whether it held, as in ``Guarantee``; equal texts count once. None without one.
    """

    label: str
    texts: int
    sure: int
    accepted: int
    wrong: int
    missed: int
    target: float | None = None
    result: Result | None = None


def answer_outcomes(
    scored: Scored, accepted: Bools, sure: Bools, lost: int, judged: Mapping[str, Guarantee]
) -> Iterable[AnswerOutcome]:
    """Yield what happened to the answers about each label.

    Args:
        scored: the predictions, N.
        accepted: shape (N,).
        sure: shape (N, K), which answers are.
        lost: texts without a usable prediction.
        judged: by label: its guarantee.
    """
    for index, label in enumerate(scored.labels.names):
        wrong = accepted & (scored.decided != scored.truth)[:, index]
        found = judged.get(label)
        yield AnswerOutcome(
            label,
            texts=len(accepted) + lost,
            sure=int(sure[:, index].sum()),
            accepted=int(accepted.sum()),
            wrong=int(wrong.sum()),
            missed=int((wrong & scored.truth[:, index]).sum()),
            target=None if found is None else found.target,
            result=None if found is None else found.result,
        )
