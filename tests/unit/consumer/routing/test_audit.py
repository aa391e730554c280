"""The audit's draw: the share it says, the same on every reading, and unknown without the key."""

import hashlib
import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from streamlabel.consumer.routing.audit import AuditSample
from streamlabel.consumer.routing.decision import Decision

LABEL = Decision("label", "no", ("no",), 0.9, 0.8, 0.5, ())
IDS = [f"texts-0-{i}" for i in range(40_000)]
KEY = SecretStr("a key of some length")

# Five standard deviations: chance exceeds them once in two million tests.
SIGMAS = 5

keys = st.text(min_size=16, max_size=100).map(SecretStr)
shares = st.floats(1e-3, 1.0)
ids = st.text(min_size=1)


def drawn(sample: AuditSample, names: list[str] = IDS) -> set[str]:
    return {name for name in names if sample.draws(name)}


def is_binomial(count: int, items: int, share: float) -> bool:
    spread = math.sqrt(items * share * (1 - share))
    return abs(count - items * share) <= SIGMAS * spread + 1


def unkeyed(record_id: str, share: float) -> bool:
    """Draw as versions before the key did; it is what anyone can compute."""
    digest = hashlib.blake2b(b"audit" + record_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


@pytest.mark.parametrize("share", [0.002, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("key", [None, KEY, SecretStr("\u20ac" * 60)])
def test_the_share_is_met(share: float, key: SecretStr | None) -> None:
    found = len(drawn(AuditSample(share, name="task/fast", key=key)))
    assert is_binomial(found, len(IDS), share)


@given(shares, keys, ids, st.sampled_from(["model", "task", "task/fast"]))
def test_a_record_that_is_read_again_is_drawn_again(
    share: float, key: SecretStr, record_id: str, name: str
) -> None:
    first, again = (AuditSample(share, name=name, key=key) for _ in range(2))
    assert first.draws(record_id) == again.draws(record_id) == first.draws(record_id)


@given(keys, ids, shares)
def test_a_larger_share_keeps_what_a_smaller_one_drew(
    key: SecretStr, record_id: str, share: float
) -> None:
    small, large = (AuditSample(s, key=key) for s in (share, min(1.0, share * 3)))
    assert large.draws(record_id) or not small.draws(record_id)


def test_tasks_and_stages_draw_independently() -> None:
    share = 0.1
    names = ("topic", "moderation", "moderation/fast", "moderationfast", "model")
    samples = [drawn(AuditSample(share, name=name, key=KEY)) for name in names]
    for first, second in combinations(samples, 2):
        assert is_binomial(len(first & second), len(IDS), share**2)


def test_without_the_key_ids_do_not_predict() -> None:
    """Whatever anyone can compute from ids is independent of the draw."""
    share = 0.1
    secret = drawn(AuditSample(share, key=KEY))
    for guess in (
        {name for name in IDS if unkeyed(name, share)},
        drawn(AuditSample(share)),
        drawn(AuditSample(share, key=SecretStr("a key of some lengtH"))),
    ):
        assert is_binomial(len(secret & guess), len(IDS), share**2)


def test_a_key_longer_than_that_of_blake2_counts_as_a_whole() -> None:
    first, second = (drawn(AuditSample(0.1, key=SecretStr("k" * 90 + end))) for end in "ab")
    assert is_binomial(len(first & second), len(IDS), 0.01)


def test_an_audited_record_is_a_copy_with_its_probability() -> None:
    found = AuditSample(1.0).applied(LABEL, "any \ud800")
    assert (found.route, found.reasons, found.audit_probability) == ("copy", ("audit",), 1.0)
    assert found.label == "no"


def test_what_is_reviewed_anyway_is_not_audited() -> None:
    review = Decision("review", "no", ("no",), 0.4, 0.1, 0.5, ("low_confidence",))
    assert AuditSample(1.0).applied(review, "id") is review
