"""Nested timeouts: refuses settings in which the outer one expires before the inner one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

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
    for path, model in _models(settings):
        request, outage = f"{path}.request_timeout_s", f"{path}.outage_timeout_s"
        if model.backend == "remote":
            pairs += [
                (request, outage, "one slow reply is mistaken for an outage"),
                (outage, batch, f"{_KILLED} an outage is recognised"),
            ]
        if model.backend == "vllm":
            pairs.append((request, batch, f"{_KILLED} a request that takes too long is aborted"))
    for shorter, longer, why in pairs:
        short_s, long_s = _value(settings, shorter), _value(settings, longer)
        if short_s >= long_s:
            yield Contradiction(
                f"{shorter}, {longer}: {short_s:g} s", f"{long_s:g} s", f"{why}; change either"
            )


def _value(settings: "Settings", name: str) -> float:
    found: Any = settings
    for part in name.split("."):
        found = _part(found, part)
    value: float = found
    return value


def _part(value: Any, name: str) -> Any:  # noqa: ANN401 any value of a setting
    if isinstance(value, dict):
        return value[name]
    return value[int(name)] if isinstance(value, list) else getattr(value, name)


def _models(settings: "Settings") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and section of every model."""
    sections: list[tuple[str, Any]] = [("", settings)]
    sections += [(f"tasks.{name}.", task) for name, task in settings.tasks.items()]
    for path, section in sections:
        if section.model is not None:
            yield f"{path}model", section.model
        for number, stage in enumerate(section.cascade):
            yield f"{path}cascade.{number}.model", stage.model
