"""Promises about when a lost worker is started again."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.worker import WorkerSettings
from streamlabel.models.worker.restart_policy import RestartPolicy


def _policy(
    *, max_restarts: int = 3, window_s: float = 300.0, backoff_s: float = 0.5
) -> RestartPolicy:
    return RestartPolicy(
        WorkerSettings(
            max_restarts=max_restarts, restart_window_s=window_s, restart_backoff_s=backoff_s
        )
    )


def test_the_wait_doubles_with_every_loss() -> None:
    policy = _policy(max_restarts=4)
    assert [policy.lost(now_s=now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.5, 1.0, 2.0, 4.0]


def test_the_wait_is_never_longer_than_thirty_seconds() -> None:
    policy = _policy(max_restarts=2000)
    waits = [policy.lost(now_s=0.0) for _ in range(2000)]
    assert waits[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert waits[-1] == 30.0


def test_a_configured_wait_above_thirty_seconds_is_kept() -> None:
    assert _policy(backoff_s=45.0).lost(now_s=0.0) == 45.0


def test_the_loss_after_the_last_allowed_restart_gives_up() -> None:
    policy = _policy(max_restarts=2)
    assert policy.lost(now_s=0.0) is not None
    assert policy.lost(now_s=0.0) is not None
    assert policy.lost(now_s=0.0) is None
    assert policy.losses == 3


def test_no_allowed_restart_gives_up_at_once() -> None:
    assert _policy(max_restarts=0).lost(now_s=0.0) is None


def test_a_loss_counts_until_just_before_the_window_has_passed() -> None:
    policy = _policy(max_restarts=1, window_s=100.0)
    assert policy.lost(now_s=0.0) == 0.5
    assert policy.lost(now_s=99.9) is None


def test_a_loss_is_forgotten_when_the_window_has_passed() -> None:
    policy = _policy(max_restarts=1, window_s=100.0)
    assert policy.lost(now_s=0.0) == 0.5
    assert policy.lost(now_s=100.0) == 0.5


def test_losses_of_a_search_do_not_count_and_wait_no_longer() -> None:
    policy = _policy(max_restarts=1)
    assert [policy.lost(now_s=0.0, counts=False) for _ in range(50)] == [0.5] * 50
    assert policy.lost(now_s=1.0) == 0.5
    assert policy.lost(now_s=1.0) is None


def test_a_loss_that_was_a_text_s_fault_is_taken_off_the_count_once() -> None:
    policy = _policy(max_restarts=2)
    policy.lost(now_s=0.0)
    policy.lost(now_s=0.0)
    second = policy.last
    policy.forgive(second)
    policy.forgive(second)
    assert policy.lost(now_s=0.0) is not None
    assert policy.lost(now_s=0.0) is None


@given(
    gaps=st.lists(st.floats(0, 1000), max_size=50),
    max_restarts=st.integers(0, 10),
    window_s=st.floats(0.1, 1000),
)
def test_it_gives_up_exactly_when_the_window_holds_too_many(
    gaps: list[float], max_restarts: int, window_s: float
) -> None:
    policy = _policy(max_restarts=max_restarts, window_s=window_s)
    losses: list[float] = []
    now_s = 0.0
    for gap in gaps:
        now_s += gap
        losses.append(now_s)
        in_window = sum(now_s - loss < window_s for loss in losses)
        assert (policy.lost(now_s=now_s) is None) == (in_window > max_restarts)
