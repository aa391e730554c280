"""``streamlabel evaluate``: the quality of the configured model on labelled texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Deployment, Overrides, load_model_settings

if TYPE_CHECKING:
    from streamlabel.quality.accepted import Accepted
    from streamlabel.quality.evaluation import Evaluation

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Labelled texts that are not part of the training data: .jsonl or .csv with"
            " the fields text and label.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Folder for report.html and report.json."
        ),
    ] = Path("report"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    deployment: Deployment = None,
    *,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            "--slice",
            metavar="FIELD",
            help="Field of the file, for example lang or source: accuracy, confidence, coverage and"
            " error for each of its values. May be repeated; slices by length are always made.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure the quality of the configured model, with routing.calibration if it is set.

    \b
    Examples:
      streamlabel evaluate -c streamlabel.yaml --data dev.jsonl --out report
      streamlabel evaluate --set model.backend=encoder --set model.path=./model --data dev.csv
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.extras import require

    require("evaluate", extra="evaluate")

    from streamlabel.commands.asking import say_lost, say_trained, score_labelled_file
    from streamlabel.commands.terminal import say
    from streamlabel.quality.evaluation import evaluate as measure
    from streamlabel.quality.report import accepted_of, scored_of, write_report

    settings = load_model_settings(config, overrides, deployment)
    answers = score_labelled_file(settings, data, fields=slices or ())
    say_lost(answers, data)
    say_trained(answers, settings)
    scored, policy = scored_of(answers, settings)
    for change in policy.changes:
        say(change)
    evaluation = measure(scored)
    about = {"data": data.name, "calibration": policy.calibration_id or "none"}
    accepted = accepted_of(answers, scored, policy, settings)
    write_report(out, evaluation, scored, answers, accepted, about=about)
    _show(evaluation)
    _show_accepted(accepted)
    say(f"written to {out / 'report.html'} and {out / 'report.json'}")


def _show(found: "Evaluation") -> None:
    error = found.calibration
    typer.echo(
        f"accuracy {found.accuracy.value:.3f} ({found.accuracy.low:.3f} to"
        f" {found.accuracy.high:.3f}), macro F1 {found.macro_f1.value:.3f}"
        f" ({found.macro_f1.low:.3f} to {found.macro_f1.high:.3f}), {found.items:,} texts"
    )
    typer.echo(
        f"log loss {found.log_loss:.4f}, Brier {found.brier:.4f}, AURC {found.aurc:.5f},"
        f" calibration error {error.value:.4f} (by chance {error.by_chance:.4f})"
    )
    shares = ", ".join(f"{c:.1%} at {float(r):.1%}" for r, c in found.coverage_at.items())
    typer.echo(f"best thresholds on these texts, no guarantee: coverage {shares} error")
    width = max(len(label.name) for label in found.by_label)
    typer.echo(
        f"{'label':<{width}}  {'texts':>6} {'precision':>9} {'recall':>7} {'F1':>6}"
        f" {'AP':>6} {'AUROC':>6}"
    )
    for label in found.by_label:
        typer.echo(
            f"{label.name:<{width}}  {label.texts:>6} {label.precision.value:>9.3f}"
            f" {label.recall.value:>7.3f} {label.f1.value:>6.3f}"
            f" {_or_dash(label.average_precision):>6} {_or_dash(label.auroc):>6}"
        )


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _show_accepted(found: "Accepted") -> None:
    from streamlabel.quality.label_lines import accepted_line, answer_table, label_lines
    from streamlabel.quality.worst_slices import worse_slices

    typer.echo(accepted_line(found))
    for guarantee in found.guarantees:
        typer.echo(str(guarantee))
    several = bool(found.answers)
    for line in [*label_lines(found.by_label, several=several), *answer_table(found.answers)]:
        typer.echo(line)
    for worse in worse_slices(found):
        typer.echo(str(worse))
