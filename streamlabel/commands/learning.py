"""What ``streamlabel learn`` computes, prints and deploys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from streamlabel.commands.terminal import say

if TYPE_CHECKING:
    from streamlabel.config.deployments import DeploymentSettings
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.output.verdict import VerdictMessage
    from streamlabel.learning.proposal import Proposal
    from streamlabel.models.calibration.calibration_file import CalibrationFile

__all__ = ["Wish", "announce", "proposal_of", "show"]

# Of the confidence in a target error, the part that the bounds of reviewers' errors take.
_FOR_NOISE = 0.2


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        target_error: None: that of the calibration in force.
        confidence: of the target error.
        max_weight: of a verdict in the fit.
        gold: record id -> known answer.
        correct_noise: whether tests allow for reviewers' errors.
    """

    target_error: float | None
    confidence: float
    max_weight: float
    gold: Mapping[str, str]
    correct_noise: bool


def proposal_of(
    verdicts: "Sequence[VerdictMessage]", now: "CalibrationFile", task: str | None, wish: Wish
) -> "Proposal":
    """Return the calibration that the verdicts support; say how reliable they are.

    Raises:
        ConfigError: too few verdicts, no audits, or no threshold holds the target error.
    """
    from streamlabel.errors import ConfigError
    from streamlabel.learning.monitor import is_audit
    from streamlabel.learning.noise import corrected_error, gold_errors, raised_target
    from streamlabel.learning.proposal import accepted_error, propose
    from streamlabel.learning.reviewed import reviewed_of
    from streamlabel.models.core.labels import LabelSet

    target = wish.target_error
    if target is None and now.thresholds is not None:
        target = now.thresholds.target_error
    if target is None or not 0 < target < 1:
        raise ConfigError(
            "--target-error: the calibration in force has none; give one between 0 and 1, for"
            " example 0.01"
        )
    labels = LabelSet(tuple(now.model.labels), now.model.problem_type)
    data = reviewed_of(verdicts, labels=labels, digest=now.model.digest, task=task)
    for why, count in data.left_out.items():
        say(f"{count:,} verdict(s) left out: {why}")
    wrong, judged = gold_errors(verdicts, wish.gold)
    undecided = sum(is_audit(each) and each.labels is None for each in verdicts)
    found = accepted_error(data, undecided)
    if found is not None:
        line = f"error of accepted labels: {_percent(found.wrong)} of {found.audits:,} audits"
        if undecided:
            line += (
                f" ({_percent(found.best)} to {_percent(found.worst)} with {undecided:,} undecided)"
            )
        if judged:
            corrected = corrected_error(found.wrong, noise=wrong / judged)
            line += (
                f"; {_percent(corrected)} corrected for reviewers, who were wrong in {wrong:,} of"
                f" {judged:,} known answers"
            )
        typer.echo(line)
    _say_reviewers(verdicts, labels.names, wish.gold)
    tested_with, tested_at = wish.confidence, target
    if wish.correct_noise:
        spent = (1 - wish.confidence) * _FOR_NOISE
        tested_at = raised_target(target, wrong=wrong, judged=judged, confidence=1 - spent)
        tested_with += spent
    return propose(
        data,
        now,
        target=target,
        tested_at=tested_at,
        confidence=wish.confidence,
        max_weight=wish.max_weight,
        tested_with=tested_with,
    )


def _say_reviewers(
    verdicts: "Sequence[VerdictMessage]", names: Sequence[str], gold: Mapping[str, str]
) -> None:
    """Print the reviewers' error rate from second looks and known answers."""
    from streamlabel.learning.noise import dawid_skene, votes_of

    votes, ids = votes_of(verdicts, names)
    if not votes:
        return
    known = {item: names.index(gold[name]) for item, name in ids.items() if gold.get(name) in names}
    found = dawid_skene(votes, labels=len(names), gold=known, smoothing=0.1)
    typer.echo(
        f"reviewers: about {_percent(found.error)} wrong, estimated from {len(votes):,} verdicts"
        f" about {len(ids):,} records with second looks or known answers"
    )


def show(proposal: "Proposal", now: "CalibrationFile") -> None:
    """Print what the proposal would change."""
    fit, file, tests = proposal.fit, proposal.file, proposal.tests
    clipped = f", {fit.clipped:,} weights cut" if fit.clipped else ""
    typer.echo(
        f"{file.evidence.items:,} verdicts, as much as {fit.effective:,.0f} labels of equal weight"
        f"{clipped}"
    )
    for note in fit.notes:
        typer.echo(f"  {note}")
    if tests.is_refuted:
        typer.echo(
            "the thresholds in force do not hold the target error: audits refute it; the new ones"
            " may send more to review"
        )
    if tests.is_kept:
        typer.echo(
            f"the calibration in force stays: {_percent(tests.review_before)} of traffic in"
            " review; audits do not contradict its target error, and these"
            f" {tests.records:,} verdicts prove no thresholds with less review"
        )
        return
    if fit.method is None:
        typer.echo("confidences stay: no fit describes later verdicts better")
    else:
        typer.echo(
            f"confidences: {now.mapping.method} {now.mapping.temperature:.3f} ->"
            f" {fit.method} {fit.calibration.temperature:.3f}"
        )
    before, after = now.limits, file.limits
    for name, limit in after.items():
        typer.echo(f"  {name}: {_shown(before.get(name))} -> {_shown(limit)}")
    typer.echo(
        f"review {_percent(tests.review_before)} -> {_percent(tests.review_after)} of"
        f" traffic, tested on {tests.records:,} verdicts"
    )
    if file.thresholds is not None:
        typer.echo(file.thresholds.summary)


def announce(settings: "Settings", model: "DeploymentSettings", file: Path) -> None:
    """Deploy a calibration file to all members of the group."""
    import asyncio

    from streamlabel.commands.deploy import publish
    from streamlabel.consumer.control.messages import ordered_settings, sections_of
    from streamlabel.learning.tightening import routing_in

    sections = sections_of(settings)
    routing_in(sections, model.path)["calibration"] = str(file.absolute())
    order = asyncio.run(publish(ordered_settings(settings, sections)))
    say(f"deployment {order.id} is on {settings.control.topic} for the group {order.group}")


def _shown(threshold: float | None) -> str:
    if threshold is None:
        return "none"
    return "always review" if threshold > 1 else f"{threshold:.4f}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
