"""Values that nobody should send: random bytes, JSON of every shape, and what lies between."""

import json
import random
from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from testing.chaos.driver import Value

__all__ = ["bad_values"]

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
_TEXTS = st.text(max_size=60) | st.text(
    alphabet=st.sampled_from(" \t\n\u200b\u202e\ufeff\ud800\x00a")
)

_KINDS: tuple[st.SearchStrategy[bytes | None], ...] = (
    st.none(),
    st.binary(max_size=200),
    _TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    _JSON.map(lambda value: json.dumps(value).encode()),
    # nearly right: the fields we read, with values of any kind
    st.fixed_dictionaries({"text": _TEXTS | _JSON}, optional={"id": _JSON, "metadata": _JSON}).map(
        lambda value: json.dumps(value).encode()
    ),
    # nearly JSON: cut anywhere
    st.tuples(_TEXTS, st.integers(0, 40)).map(
        lambda pair: json.dumps({"text": pair[0]}).encode()[: pair[1]]
    ),
)

_RARE: tuple[Callable[[random.Random], bytes], ...] = (
    lambda rng: b"[" * rng.randint(100, 20_000),
    lambda rng: b'{"text": 1' + b"0" * rng.randint(1, 5000) + b"}",
    lambda _: b'{"text": "a", "text": "b"}',
    lambda _: b'{"text": NaN}',
    lambda rng: json.dumps({"text": "long " * rng.randint(1000, 100_000)}).encode(),
    lambda rng: json.dumps(
        {"text": "x", "metadata": {"m": "m" * rng.randint(1, 400_000)}}
    ).encode(),
    lambda rng: rng.randbytes(rng.randint(1, 300_000)),
    lambda rng: json.dumps({"text": "e\u0301" * rng.randint(1, 50_000)}).encode(),
)
_RARE_EVERY = 50


def bad_values(count: int, number: int) -> list[Value]:
    """Return ``count`` values; ``number`` seeds them. Each must have exactly one outcome."""
    found: list[bytes | None] = []

    # Hypothesis finds edges better than random does; here it only generates.
    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(*_KINDS))
    def collect(value: bytes | None) -> None:
        found.append(value)

    collect()
    rng = random.Random(number)
    while len(found) < count:  # some strategies are exhausted before that
        found.append(rng.randbytes(rng.randint(0, 100)))
    del found[count:]
    for index in range(0, count, _RARE_EVERY):
        found[index] = rng.choice(_RARE)(rng)
    return [Value(value, "any") for value in found]
