"""A console that is killed again and again loses no decision and makes none twice."""

from collections.abc import Callable

import pytest

from testing.kafka_broker import Cluster
from testing.review_run import Plan, review_all

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.may_block("what is tested is another process"),
]


async def test_a_kill_at_any_moment_loses_and_doubles_nothing(
    kafka: Cluster, new_database: Callable[[], str]
) -> None:
    plan = Plan(items=150, reviewers=4, kills=3, lease_s=3, limit_s=240)
    outcome = await review_all(plan, kafka, new_database())
    assert (outcome.kills, outcome.verdicts) == (3, 150)
    assert (outcome.lost, outcome.decided_twice, outcome.stuck_leases) == (0, 0, 0)
