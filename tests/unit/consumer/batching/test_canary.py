"""When a canary is worse than the present plan: each limit, at its edge."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from streamlabel.consumer.batching.canary import Canary, CanaryLimits
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.output.outcome import Outcome

if TYPE_CHECKING:
    from streamlabel.consumer.batching.running_plan import RunningPlan

SOURCE = SourceRecord(Position("texts", 0, 0), None, b"", (), 0, 0.0)
NEW, OLD = (cast("RunningPlan", object()) for _ in range(2))


def trial(canary: dict[str, Any], **changes: float) -> Canary:
    """A canary of a hundred records beside a hundred of the present plan."""
    limits = CanaryLimits(share=0.5, records=100, **changes)
    made = Canary(NEW, limits, name="x")
    for running, about in ((OLD, {}), (NEW, canary)):
        for number in range(100):
            is_dead = number < about.get("dead", 0)
            label = "a" if number < 50 + about.get("shift", 0) else "b"
            outcome = Outcome(
                SOURCE, (), "dead_letter" if is_dead else "label", label="" if is_dead else label
            )
            made.saw(running, (outcome,), about.get("seconds", 0.1))
    assert made.has_enough.is_set()
    return made


@pytest.mark.parametrize(
    ("canary", "changes", "why"),
    [
        ({}, {}, None),
        ({"dead": 1}, {}, None),
        ({"dead": 2}, {}, "2.0% of its records became dead letters, 0.0% of the others"),
        ({"dead": 2}, {"max_dead_letters": 0.02}, None),
        ({"seconds": 0.29}, {}, None),
        ({"seconds": 0.31}, {}, "a record took 0.310 s, 0.100 s with the present deployment"),
        ({"seconds": 0.31}, {"max_slowdown": 4}, None),
        ({"shift": 20}, {}, None),
        ({"shift": 21}, {}, "its labels differ by 0.21"),
        ({"shift": 21}, {"max_label_shift": 0.3}, None),
        ({"shift": -21}, {}, "its labels differ by 0.21"),
    ],
)
def test_a_canary_is_worse_beyond_a_limit_that_can_be_set(
    canary: dict[str, Any], changes: dict[str, float], why: str | None
) -> None:
    said = trial(canary, **changes).worse()
    assert said is None if why is None else why in (said or "")
