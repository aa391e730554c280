"""What is made once a record is frozen in the tests, and quick to make outside of them."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from streamlabel.consumer.plans.job import Classified
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.values import value


@pytest.mark.parametrize("made", [Prediction, PreparedText, Classified])
def test_no_field_of_a_value_can_be_set_in_the_tests(made: type) -> None:
    one: Any = object.__new__(made)
    for field in made.__dataclass_fields__:  # type: ignore[attr-defined]
        with pytest.raises(FrozenInstanceError, match=field):
            setattr(one, field, None)


def test_values_are_equal_hash_and_print_by_their_fields() -> None:
    @value
    class Pair:
        left: int
        right: int = 2

    assert Pair(1) == Pair(1, 2) != Pair(1, 3)
    assert hash(Pair(1)) == hash(Pair(1))
    assert repr(Pair(1)).endswith("Pair(left=1, right=2)")


def test_outside_of_the_tests_they_are_plain_classes_with_slots() -> None:
    program = (
        "from streamlabel.models.core.classifier import Prediction as P;"
        "print(P.__setattr__ is object.__setattr__, hasattr(P, '__slots__'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
