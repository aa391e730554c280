"""The part of ``streamlabel calibrate`` for a whole cascade: a file for each stage, and a curve."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamlabel.config.deployments import DeploymentSettings
    from streamlabel.models.calibration.cascade_control import CascadePoint, CascadePromise
    from streamlabel.quality.labelled import LabelledText

__all__ = ["calibrate_stages", "stage_file"]


def calibrate_stages(
    stages: "Sequence[DeploymentSettings]",
    data: "Path",
    out: "Path",
    *,
    target: float,
    level: float,
    skip_trained: bool,
) -> None:
    """Calibrate the stages on the same texts, and prove one error for what they accept together.

    Args:
        stages: in their order.
        data: the labelled file, with the labels of the last stage.
        out: name of the files, without that of the stage.
        target: largest share of errors among what all stages accept, in (0, 1).
        level: probability that the target holds, in (0, 1).
        skip_trained: whether texts that a model was trained on are left out instead of refused.

    Raises:
        ConfigError: as for ``calibrate_cascade``, or the file is not valid.
    """
    from streamlabel.commands.asking import say_lost, score_labelled_file
    from streamlabel.commands.terminal import say
    from streamlabel.errors import ConfigError
    from streamlabel.quality.cascade_calibrating import StageAnswers, calibrate_cascade

    last = stages[-1].stage
    if last is not None and last.review_price is None:  # said before models are loaded
        raise ConfigError(
            f"{stages[-1].path}.review_price: set what a review costs, in the unit of the prices of"
            " the stages; the thresholds follow from them"
        )
    chosen: list[LabelledText] = []
    choose = _same_texts(stages, data, chosen, skip_trained=skip_trained)
    asked = []
    for each in stages:
        say(f"stage {each.id}")
        renamed = each.stage.labels if each.stage is not None else {}
        answers = score_labelled_file(
            each.settings, data, choose=choose, follow=False, renamed=renamed
        )
        say_lost(answers, data)
        asked.append(StageAnswers(each, answers))
    made = calibrate_cascade(asked, chosen, target=target, level=level)
    _show(made.promise, [each.id for each in stages])
    for each, file in zip(stages, made.files, strict=True):
        path = stage_file(out, each)
        file.write(path)
        say(f"written to {path}; set {each.path}.routing.calibration to it")
        if each.settings.routing.threshold is not None or each.settings.routing.thresholds:
            say(f"remove {each.path}.routing.threshold and thresholds: those of the file count")


def stage_file(out: "Path", stage: "DeploymentSettings") -> "Path":
    """Return the name of the calibration file of a stage."""
    return out.with_name(f"{out.stem}-{stage.id.replace('/', '-')}{out.suffix}")


def _same_texts(
    stages: "Sequence[DeploymentSettings]",
    data: "Path",
    chosen: "list[LabelledText]",
    *,
    skip_trained: bool,
) -> "Callable[[list[LabelledText]], Sequence[LabelledText]]":
    """Return what chooses the same texts for every stage: those that no model was trained on."""
    from streamlabel.commands.asking import only_new

    def choose(texts: "list[LabelledText]") -> "Sequence[LabelledText]":
        if not chosen:  # the first stage
            kept: Sequence[LabelledText] = texts
            for each in stages:
                kept = only_new(list(kept), each.settings, data, skip_trained=skip_trained)
            chosen.extend(kept)
            return chosen
        lines = {text.line for text in chosen}
        return [text for text in texts if text.line in lines]

    return choose


def _show(promise: "CascadePromise", names: "Sequence[str]") -> None:
    typer.echo(str(promise))
    for name, limit in zip(names, promise.chosen.thresholds, strict=True):
        typer.echo(f"  {name}: {f'{limit:.4f}' if limit <= 1 else 'accepts nothing'}")
    head = ["cost per text", *names, "review", "wrong", "bound"]
    rows = [_row(point, is_chosen=point == promise.chosen) for point in promise.curve]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False))
        typer.echo(line + (f"  {row[-1]}" if len(row) > len(head) else ""))
    typer.echo(
        f"shares of the texts that each stage decides; bound: of the error rate of this row alone,"
        f" {promise.confidence:.0%}. Only the chosen row is guaranteed".replace("%", " %")
    )


def _row(point: "CascadePoint", *, is_chosen: bool) -> list[str]:
    shares = [f"{share:.1%}" for share in (*point.shares, max(point.review_share, 0.0))]
    wrong = f"{point.errors} of {point.accepted}"
    row = [f"{point.cost:.4g}", *shares, wrong, f"{point.bound:.2%}"]
    return [*row, "<- chosen"] if is_chosen else row
