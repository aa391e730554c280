"""``streamlabel drift``: whether recorded outputs still look like the data of the calibration."""

from pathlib import Path
from typing import Annotated

import typer

from streamlabel.commands.options import ConfigFile, Deployment, Overrides, load_model_settings

__all__ = ["drift"]

_SHOWN_LABELS = 10


def drift(
    recorded: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Recorded outputs as JSON lines, from the labels and review topics together or"
            " from streamlabel classify.",
            show_default=False,
        ),
    ],
    config: ConfigFile = None,
    overrides: Overrides = None,
    deployment: Deployment = None,
) -> None:
    """Compare recorded outputs with the data of routing.calibration. Nothing is written.

    \b
    Examples:
      streamlabel drift -c streamlabel.yaml --from outputs.jsonl
      streamlabel classify -c streamlabel.yaml -f new.jsonl > new-outputs.jsonl
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.consumer.observability.terminal_format import printable
    from streamlabel.consumer.routing.calibrated_router import read_calibration
    from streamlabel.errors import ConfigError
    from streamlabel.quality.recorded_drift import recorded_drift

    settings = load_model_settings(config, overrides, deployment)
    file = read_calibration(settings.routing)
    if file is None or file.reference is None:
        raise ConfigError(
            "drift compares with the data of a calibration: set routing.calibration to a file that"
            " streamlabel calibrate wrote"
        )
    found = recorded_drift(recorded, file.reference, settings.drift)
    typer.echo(f"{found.texts:,} outputs, {file.reference.items:,} texts of the calibration")
    for shift in found.shifts:
        said = "DRIFTED" if shift.has_drifted else "no drift"
        measure = "stability index" if shift.feature == "label" else "distance"
        typer.echo(f"{shift.feature}: {said}, {measure} {shift.effect:.3f}, p {shift.p_value:.2g}")
    changed = sorted(found.shares.items(), key=lambda row: -abs(row[1][1] - row[1][0]))
    for name, (then, now) in changed[:_SHOWN_LABELS]:
        typer.echo(f"  {printable(name)}: {then:.1%} -> {now:.1%}")
    if found.unread:
        typer.echo(f"{found.unread:,} line(s) without a decision were left out")
