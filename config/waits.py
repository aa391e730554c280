"""Nested timeouts: refuses settings in which the outer one expires before the inner one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings

__all__ = ["Contradiction", "contradictions"]


class Contradiction(NamedTuple):
    """A pair of timeouts that contradict each other.

    Attributes:
        shorter: the setting that has to be less, with its value.
        longer: the setting that has to be greater, with its value.
        why: the consequence.
    """

    shorter: str
    longer: str
    why: str


_RESTARTED = "/livez fails and the service is restarted although nothing is wrong"
_KILLED = "the worker is killed before"


def contradictions(settings: "Settings") -> Iterator[Contradiction]:
    """Yield each pair of timeouts of which the inner one is not shorter than the outer one."""
    batch = "worker.batch_timeout_s"
    pairs = []
    if settings.http.enabled:
        pairs += [
            (name, "http.live_after_s", _RESTARTED)
            for name in (
                "worker.load_timeout_s",
                batch,
                "delivery.delivery_timeout_s",
                "delivery.drain_timeout_s",
                "delivery.revoke_timeout_s",
            )
        ]
    if settings.model.backend == "remote":
        outage = "model.outage_timeout_s"
        pairs += [
            ("model.request_timeout_s", outage, "one slow reply is mistaken for an outage"),
            (outage, batch, f"{_KILLED} an outage is recognised"),
        ]
    if settings.model.backend == "vllm":
        request = "model.request_timeout_s"
        pairs.append((request, batch, f"{_KILLED} a request that takes too long is aborted"))
    for shorter, longer, why in pairs:
        short_s, long_s = _value(settings, shorter), _value(settings, longer)
        if short_s >= long_s:
            yield Contradiction(
                f"{shorter}, {longer}: {short_s:g} s", f"{long_s:g} s", f"{why}; change either"
            )


def _value(settings: "Settings", name: str) -> float:
    section, field = name.split(".")
    value: float = getattr(getattr(settings, section), field)
    return value
