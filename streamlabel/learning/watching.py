"""Keeps the monitor up to date with verdicts, and steps to stricter thresholds after an alarm."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from streamlabel.config.settings import Settings
from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.errors import ConfigError
from streamlabel.learning.monitor import Standing, Target, TargetMonitor
from streamlabel.learning.tightening import (
    Deployed,
    deployed_of,
    next_step,
    next_stricter,
    tightened_file,
    tightened_settings,
)
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.thresholds import NEVER

__all__ = ["ONE_THRESHOLD", "Response", "Watch", "sentence_of", "through_deployment", "to_file"]

ONE_THRESHOLD = (
    "--tighten deploy: the calibration of a multi-label task has two thresholds a label, and"
    " routing.thresholds has one: use --tighten file, and deploy that file with streamlabel deploy"
)


class Response(Protocol):
    """What is done after an alarm."""

    async def __call__(
        self, deployed: Deployed, thresholds: Mapping[str, float], absent: Mapping[str, float]
    ) -> Deployed:
        """Put stricter thresholds into force; return what is in force then.

        Args:
            deployed: in force now.
            thresholds: by label.
            absent: of absent labels, if a multi-label task has two thresholds a label; else empty.
        """
        ...


class Watch:
    """The monitor of a service.

    Args:
        deployed: models with a target error, and the thresholds in force.
        earlier: calibrations that were in force before.
        respond: to an alarm; None: it is only said.
        say: writes a line for people.

    Attributes:
        monitor: of all verdicts.

    Raises:
        ConfigError: there is no target error to monitor.
    """

    def __init__(
        self,
        deployed: Sequence[Deployed],
        *,
        earlier: Sequence[CalibrationFile],
        respond: Response | None,
        say: Callable[[str], None],
    ) -> None:
        if not deployed:
            raise ConfigError(
                "routing.calibration: no calibration with a target error is in force, so there is"
                " nothing to monitor; run streamlabel calibrate --target-error"
            )
        files = [*earlier, *(each.file for each in deployed)]
        targets = {file.id: Target.of(file) for file in files}
        self.monitor = TargetMonitor({k: t for k, t in targets.items() if t is not None})
        self._in_force = list(deployed)
        self._first = {_key(each) for each in deployed}
        self._respond = respond
        self._say = say

    async def saw(self, review_id: str, verdict: VerdictMessage | None) -> None:
        """Count a verdict, or its withdrawal (None); respond to an alarm."""
        if verdict is None:
            self.monitor.withdraw(review_id)
            return
        for alarm in self.monitor.saw(verdict):
            await self._raise(alarm)

    @property
    def alarms(self) -> list[str]:
        """Sentences about the alarms of thresholds that were in force at the beginning."""
        return [
            sentence_of(each)
            for each in self.monitor.standings()
            if each.has_alarm
            and (each.watched.calibration_id, each.watched.threshold_set_id) in self._first
        ]

    async def _raise(self, alarm: Standing) -> None:
        self._say(sentence_of(alarm))
        key = (alarm.watched.calibration_id, alarm.watched.threshold_set_id)
        for place, deployed in enumerate(self._in_force):
            if self._respond is None or _key(deployed) != key:
                continue  # thresholds that are not in force any more need no response
            stricter, absent = _next(deployed, alarm)
            if (stricter, absent) == (dict(deployed.thresholds), dict(deployed.absent)):
                self._say("every label already goes to review: nothing can be tightened")
                continue
            changed = await self._respond(deployed, stricter, absent)
            self._in_force[place] = changed
            if (target := Target.of(changed.file)) is not None:
                self.monitor.know(changed.file.id, target)
            self._say(f"tightened: {_described(deployed, stricter, absent)}")


def to_file(path: Path) -> Response:
    """Return a response that writes a calibration with the stricter thresholds."""

    async def respond(
        deployed: Deployed, thresholds: Mapping[str, float], absent: Mapping[str, float]
    ) -> Deployed:
        file = tightened_file(deployed.file, thresholds, absent)
        await asyncio.to_thread(file.write, path)
        return replace(
            deployed,
            file=file,
            thresholds=thresholds,
            absent=absent,
            threshold_set_id=file.threshold_set_id,
        )

    return respond


def through_deployment(
    settings: Settings, publish: Callable[[Settings], Awaitable[object]]
) -> Response:
    """Return a response that deploys the stricter thresholds to all members.

    Args:
        settings: of the service, as deployed now.
        publish: puts other settings on the control topic.
    """
    present = settings

    async def respond(
        deployed: Deployed, thresholds: Mapping[str, float], absent: Mapping[str, float]
    ) -> Deployed:
        nonlocal present
        if absent:
            raise ConfigError(ONE_THRESHOLD)
        present = tightened_settings(present, deployed, thresholds)
        await publish(present)
        known = await asyncio.to_thread(deployed_of, present)
        [found] = [each for each in known if each.settings.id == deployed.settings.id]
        return found

    return respond


def sentence_of(alarm: Standing) -> str:
    """Return an alarm as a sentence."""
    what = "accepted labels" if alarm.label is None else f"accepted labels {alarm.label}"
    if alarm.is_answer:
        what = f"answers about {alarm.label} in accepted records"
    where = f" of task {alarm.watched.task}" if alarm.watched.task else ""
    return (
        f"{what}{where} are wrong more often than {_percent(alarm.target)}: {alarm.wrong:,} of"
        f" {alarm.audits:,} audits since thresholds {alarm.watched.threshold_set_id}; review more,"
        " and find out what changed"
    )


def _key(deployed: Deployed) -> tuple[str | None, str | None]:
    return deployed.file.id, deployed.threshold_set_id


def _next(deployed: Deployed, alarm: Standing) -> tuple[dict[str, float], dict[str, float]]:
    if deployed.absent:
        return next_step(deployed.file, deployed.thresholds, deployed.absent)
    labels = None if alarm.label is None else [alarm.label]
    return next_stricter(deployed.file, deployed.thresholds, labels), {}


def _described(before: Deployed, after: Mapping[str, float], absent: Mapping[str, float]) -> str:
    pairs = [(name, before.thresholds[name], limit) for name, limit in after.items()]
    pairs += [(f"not {name}", before.absent[name], limit) for name, limit in absent.items()]
    return ", ".join(f"{name} {_shown(a)} -> {_shown(b)}" for name, a, b in pairs if a != b)


def _shown(threshold: float) -> str:
    return "always review" if threshold == NEVER else f"{threshold:.4f}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
