"""Which side of padding changes no answer, and what to do where both do."""

import numpy as np
import pytest

from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.encoder.independence import Together, company_rows, settle_padding
from streamlabel.models.encoder.padded import Padding
from streamlabel.models.tokens.rows import Rows

ROWS = company_rows([7, 8, 9], (1,), (2,), limit=None)


def sums(rows: Rows) -> Floats:
    return np.array([[float(row.sum()), 1.0] for row in rows])


def shifted(rows: Rows, *, by: float) -> Floats:
    return np.array([[float(row.sum()), 1.0 + by] for row in rows])


def settle(together: Together) -> tuple[Padding, float]:
    return settle_padding(
        sums,
        together,
        ROWS,
        sides=("right", "left"),
        dtype="float32",
        problem_type="single_label",
    )


@pytest.mark.parametrize("expected", ["right", "left", "none"])
def test_the_first_side_that_changes_nothing_is_chosen(expected: Padding) -> None:
    def together(rows: Rows, padding: Padding) -> Floats:
        return shifted(rows, by=0.0 if padding == expected else 0.01 * len(rows))

    chosen, moved = settle(together)
    assert (chosen, moved) == (expected, 0)


def test_a_side_on_which_a_model_fails_is_not_chosen() -> None:
    def together(rows: Rows, padding: Padding) -> Floats:
        if padding == "right":
            raise InferenceError("no")
        return sums(rows)

    assert settle(together) == ("left", 0)


def test_a_model_whose_rows_change_each_other_without_padding_is_refused() -> None:
    def together(rows: Rows, padding: Padding) -> Floats:
        del padding
        return shifted(rows, by=0.01 * len(rows))

    with pytest.raises(ModelLoadError, match="depend on the other texts of the batch"):
        settle(together)
