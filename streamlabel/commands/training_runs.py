"""Runs a training with each of its seeds; stopped, it says what there is, and can go on."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import typer

from streamlabel.commands.terminal import progress, say
from streamlabel.commands.training import line
from streamlabel.training.fit_settings import EpochReport, FitReport
from streamlabel.training.seed_runs import SeedRuns
from streamlabel.training.several_seeds import best_seed, spreads
from streamlabel.training.training_state import TrainingState

__all__ = ["Fit", "Plan", "train_with_seeds"]


class Fit(Protocol):
    """Trains with one seed."""

    def __call__(
        self,
        seed: int,
        folder: Path,
        *,
        state: TrainingState,
        on_step: Callable[[int, int], None],
        on_epoch: Callable[[EpochReport], None],
    ) -> FitReport:
        """Write the model to ``folder``, and return the report."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train.

    Attributes:
        out: folder of the model.
        seeds: one or several.
        origin: of the training, see ``training_origin.origin_of``.
        steps: of one seed at most.
        held_out: number of held-out texts.
        complete: adds to a model's folder what it has besides the model; it is given the folder,
            the seed of the model, and the reports of all seeds.
    """

    out: Path
    seeds: Sequence[int]
    origin: Mapping[str, Any]
    steps: int
    held_out: int
    complete: Callable[[Path, int, Mapping[int, FitReport]], None]


class _Stop:
    """Ctrl-C and SIGTERM, which batch systems and containers send, end a training between steps.

    So its state is whole. Before the first step, and at the second signal, they end it at once.
    """

    def __init__(self) -> None:
        self._has_begun = False
        self._is_asked = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self._is_asked or not self._has_begun:
            raise KeyboardInterrupt
        self._is_asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if the training is to end."""
        self._has_begun = True
        if self._is_asked:
            raise KeyboardInterrupt


@contextmanager
def _stopped_by_signals() -> Iterator[_Stop]:
    stop = _Stop()
    before = {each: signal.signal(each, stop.ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def train_with_seeds(fit: Fit, plan: Plan) -> None:
    """Train, write the best model to ``plan.out``, and say how good it is on the held-out texts.

    Raises:
        typer.Exit: with 130, after Ctrl-C or SIGTERM; the best epoch so far is in ``plan.out``, if
            there is one.
        ConfigError: a state is damaged, or that of another training.
    """
    runs = SeedRuns(plan.out, plan.origin, say=say)
    reports = _reports_of(fit, plan, runs)
    if not reports:
        _say_nothing_is_there(runs, plan)
        raise typer.Exit(130)
    kept = best_seed(reports)
    runs.publish(kept, lambda folder: plan.complete(folder, kept, reports))
    _say_how_good(kept, reports, plan)
    was_interrupted = any(report.was_interrupted for report in reports.values())
    if was_interrupted or len(reports) < len(plan.seeds):
        say(f"interrupted; the best epoch so far is in {plan.out}; --resume goes on")
        raise typer.Exit(130)
    runs.remove()
    took_s = sum(report.fit_s for report in reports.values())
    say(f"written to {plan.out} after {took_s:.0f} s; streamlabel evaluate measures it")


def _reports_of(fit: Fit, plan: Plan, runs: SeedRuns) -> dict[int, FitReport]:
    """Return the reports of all seeds; of fewer, or with an interrupted one, if it is stopped."""
    reports: dict[int, FitReport] = {}
    with _stopped_by_signals() as stop, suppress(KeyboardInterrupt):
        for seed in plan.seeds:
            report = runs.finished(seed) or _train_one(fit, plan, runs, seed, stop)
            reports[seed] = report
            if report.was_interrupted:
                break
            runs.finish(seed, reports)
            if len(plan.seeds) > 1:
                say(f"seed {seed}: {_figures(report)}")
            stop.check()
    return reports


def _train_one(fit: Fit, plan: Plan, runs: SeedRuns, seed: int, stop: _Stop) -> FitReport:
    def stepped(done: int, _total: int) -> None:
        update(done, "")
        stop.check()

    def ended(epoch: EpochReport) -> None:
        say(line(epoch))
        stop.check()

    state = runs.state(seed)
    position = state.position() or {"steps": 0, "epochs": []}
    done = int(position["steps"])
    if done:
        epochs = len(position["epochs"])
        say(f"goes on after step {done:,} of {plan.steps:,}; {epochs} epochs have ended")
    name = f"training, seed {seed}" if len(plan.seeds) > 1 else "training"
    with progress(name, total=plan.steps, before=done) as update:
        return fit(seed, runs.model(seed), state=state, on_step=stepped, on_epoch=ended)


def _say_nothing_is_there(runs: SeedRuns, plan: Plan) -> None:
    position = runs.state(plan.seeds[0]).position()
    if position is None:
        say("interrupted before the end of the first epoch: nothing was saved")
    else:
        say(
            "interrupted before the end of the first epoch: there is no model yet; --resume goes"
            f" on after step {position['steps']:,} of {plan.steps:,}"
        )


def _say_how_good(kept: int, reports: Mapping[int, FitReport], plan: Plan) -> None:
    """Print the figures on the held-out texts, and why they are too good."""
    best = reports[kept].best
    if best is None or best.held_out_accuracy is None:
        return
    texts = f"the {plan.held_out:,} held-out texts"
    if len(plan.seeds) == 1:
        say(f"{_figures(reports[kept])} on {texts}; they chose the epoch, so it is optimistic")
        return
    accuracy, macro_f1 = spreads(list(reports.values()))
    say(f"{len(reports)} seeds: accuracy {accuracy}; macro F1 {macro_f1}")
    say(
        f"seed {kept} is kept: {_figures(reports[kept])} on {texts}; they chose the epoch and the"
        " seed, so it is optimistic: the mean is nearer to what other texts will show"
    )


def _figures(report: FitReport) -> str:
    best = report.best
    if best is None or best.held_out_accuracy is None:
        return "no held-out texts"
    return f"accuracy {best.held_out_accuracy:.3f}, macro F1 {best.held_out_macro_f1:.3f}"
