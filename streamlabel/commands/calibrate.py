"""``streamlabel calibrate``: calibrated confidences, and thresholds that control the error rate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Deployment, Overrides, load_settings

if TYPE_CHECKING:
    from collections.abc import Collection

    from streamlabel.config.settings import RoutingSettings
    from streamlabel.models.calibration.calibration_file import CalibrationFile
    from streamlabel.models.core.labels import LabelSet

__all__ = ["calibrate"]

Share = Annotated[float | None, typer.Option(metavar="SHARE", show_default=False)]


def calibrate(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Labelled texts: .jsonl or .csv with the fields text and label. They must be"
            " a sample of the traffic and not part of the training data.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="Calibration file to write (.yaml)."),
    ] = Path("calibration.yaml"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    deployment: Deployment = None,
    *,
    target_error: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Maximum error rate among accepted labels (those that skip review), for"
            " example 0.01.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Confidence level at which the target error rate holds."
        ),
    ] = 0.95,
    max_review: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Maximum fraction of texts that go to review.", show_default=False
        ),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML file with the cost of one review (review), of one error (error), and of"
            " errors by label (errors).",
            show_default=False,
        ),
    ] = None,
    missed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=SHARE",
            help="Maximum share of the texts with this true label that is accepted under another"
            " label, for example hate=0.05. May be repeated; alone, or with --target-error.",
            show_default=False,
        ),
    ] = None,
    no_target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Multi-label task: label without a target error. Its answers are accepted as they"
            " are, and published without a guarantee. May be repeated.",
            show_default=False,
        ),
    ] = None,
    skip_trained: Annotated[
        bool,
        typer.Option(
            "--skip-trained",
            help="Leave out texts that the model was trained on, instead of refusing them.",
        ),
    ] = False,
) -> None:
    """Calibrate confidences on labelled texts, choose thresholds, and write both to a file.

    Equal texts count once. Set routing.calibration to that file. Without --target-error, --max-review or --costs, only the
    confidences are calibrated and no thresholds are chosen.

    In a multi-label task --target-error is that of the answers about each label, for all labels together; a text with an unsure answer goes to review.

    For a cascade, --target-error holds for what all stages accept together, and every stage gets a file of its own.

    \b
    Examples:
      streamlabel calibrate -c streamlabel.yaml --data labelled.csv --target-error 0.01
      streamlabel calibrate -c streamlabel.yaml --data labelled.jsonl --max-review 0.1 -o budget.yaml
    """  # noqa: D301, E501 \b keeps the lines as they are
    from functools import partial

    from streamlabel.commands.asking import only_new, say_lost, score_labelled_file
    from streamlabel.commands.calibrate_cascade import calibrate_stages
    from streamlabel.commands.terminal import say
    from streamlabel.config.deployments import cascade_named, for_deployment
    from streamlabel.errors import ConfigError
    from streamlabel.extras import require
    from streamlabel.quality import calibrating
    from streamlabel.quality.calibration_lines import calibration_lines
    from streamlabel.quality.choosing import Wish
    from streamlabel.quality.costs import read_costs

    require("calibrate", "scipy", extra="evaluate")
    _refuse_no_share(target_error=target_error, confidence=confidence, max_review=max_review)
    if costs is not None and (target_error is not None or max_review is not None):
        raise ConfigError("--costs excludes --target-error and --max-review; remove those")
    if missed and (costs is not None or (max_review is not None and target_error is None)):
        raise ConfigError(
            "--missed goes alone or with --target-error; remove --costs, --max-review"
        )
    if no_target and target_error is None:
        raise ConfigError("--no-target goes with --target-error; add that, or remove --no-target")
    limits = _missed(missed or [])
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}")
    loaded = load_settings(config, overrides).settings
    if stages := cascade_named(loaded, deployment):
        others = (costs, max_review, missed, no_target)
        if target_error is None or any(each is not None for each in others):
            raise ConfigError(
                "for a whole cascade give --target-error, and none of --max-review, --costs,"
                " --missed and --no-target; or calibrate one stage with --deployment"
            )
        calibrate_stages(
            stages, data, out, target=target_error, level=confidence, skip_trained=skip_trained
        )
        return
    settings = for_deployment(loaded, deployment)
    chosen = partial(only_new, settings=settings, path=data, skip_trained=skip_trained)
    answers = score_labelled_file(settings, data, choose=chosen, follow=False)
    say_lost(answers, data)
    wish = Wish(
        target_error=target_error,
        confidence=confidence,
        max_review=max_review,
        costs=None if costs is None else read_costs(costs, answers.labels.names),
        missed=limits,
        without=tuple(no_target or ()),
    )
    _refuse_unknown(answers.labels, missed=limits, no_target=wish.without)
    file = calibrating.calibrate(answers, wish, settings)
    file.write(out)
    for line in calibration_lines(file):
        typer.echo(line)
    _say_limits(file, settings.routing)
    say(f"written to {out}; set routing.calibration to it")


def _refuse_unknown(
    labels: "LabelSet", *, missed: "Collection[str]", no_target: "Collection[str]"
) -> None:
    from streamlabel.errors import ConfigError

    for option, names in (("--missed", missed), ("--no-target", no_target)):
        if unknown := sorted(set(names) - set(labels.names)):
            raise ConfigError(
                f"{option}: {', '.join(unknown)}: unknown label; the labels are {labels.listed}"
            )
    if no_target and labels.problem_type == "single_label":
        raise ConfigError(
            "--no-target: only in a multi-label task; in this one every text has exactly one label"
        )


def _missed(settings: list[str]) -> dict[str, float]:
    from streamlabel.errors import ConfigError

    found: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.rpartition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not name or not 0 < share < 1:
            raise ConfigError(f"--missed {setting}: write LABEL=SHARE, for example hate=0.05")
        found[name] = share
    return found


def _refuse_no_share(**shares: float | None) -> None:
    from streamlabel.errors import ConfigError

    for name, share in shares.items():
        if share is not None and not 0 < share < 1:
            option = name.replace("_", "-")
            raise ConfigError(
                f"--{option}: must be between 0 and 1, for example 0.01, not {share:g}"
            )


def _say_limits(file: "CalibrationFile", routing: "RoutingSettings") -> None:
    """Say which thresholds of the settings will act beside those of the file."""
    from streamlabel.commands.terminal import say

    if file.thresholds is None:
        return
    limits = [*file.limits.values(), *file.absent_limits.values()]
    if routing.threshold is not None and any(t < routing.threshold for t in limits):
        say(
            f"routing.threshold {routing.threshold:g} of your settings is above some of these"
            " thresholds and will raise them: remove it, or more goes to review"
        )
    if routing.thresholds:
        say("routing.thresholds of your settings will replace thresholds of the file: remove it")
