"""``streamlabel learn``: what reviewers' verdicts say about the calibration, and a better one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Deployment, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.deployments import DeploymentSettings
    from streamlabel.config.settings import Settings
    from streamlabel.learning.ledger import Ledger
    from streamlabel.models.calibration.calibration_file import CalibrationFile

__all__ = ["learn"]


def learn(
    config: ConfigFile = None,
    overrides: Overrides = None,
    deployment: Deployment = None,
    *,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            "--verdicts", metavar="FILE", help="Verdicts as JSON lines.", show_default=False
        ),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(
            "--topic",
            metavar="TOPIC",
            help="Topic of verdicts, up to its present end.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Calibration file to write (.yaml). Without it, nothing is written.",
            show_default=False,
        ),
    ] = None,
    target_error: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Maximum error rate among accepted labels; that of the calibration in force"
            " without it.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(metavar="SHARE", help="Confidence level of the target error.")
    ] = 0.95,
    max_weight: Annotated[
        float,
        typer.Option(min=1, metavar="WEIGHT", help="Largest weight of a verdict in the fit."),
    ] = 1000.0,
    gold: Annotated[
        Path | None,
        typer.Option(
            "--gold",
            metavar="FILE",
            help="Known answers of records that reviewers judged as gold: .jsonl or .csv with the"
            " fields id, text and label.",
            show_default=False,
        ),
    ] = None,
    correct_noise: Annotated[
        bool,
        typer.Option(
            "--correct-noise",
            help="Allow for reviewers' errors, measured on --gold, in the tests of thresholds.",
        ),
    ] = False,
    deploy: Annotated[
        bool,
        typer.Option(
            "--deploy",
            help="Announce --out to all members of the group, as `streamlabel deploy` does. The"
            " file must exist on every member.",
        ),
    ] = False,
    suggest: Annotated[
        int | None,
        typer.Option(
            "--suggest",
            min=2,
            metavar="N",
            help="Instead of a fit, print N texts of --reviews to label next, as JSON lines.",
            show_default=False,
        ),
    ] = None,
    reviews: Annotated[
        Path | None,
        typer.Option(
            "--reviews",
            metavar="FILE",
            help="Review records as JSON lines, with their texts, for --suggest.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fit the calibration to verdicts, choose thresholds with exact tests, and say the effect.

    Each verdict counts with the inverse of the probability of its review. A fit is kept only if it
    describes later verdicts better; thresholds are tested on a sample in which all records have the
    same probability. Verdicts about records in review alone prove nothing about accepted ones.

    \b
    Examples:
      streamlabel learn -c streamlabel.yaml --verdicts verdicts.jsonl
      streamlabel learn -c streamlabel.yaml --topic verdicts --out learned.yaml --deploy
      streamlabel learn -c streamlabel.yaml --suggest 200 --reviews review.jsonl > to-label.jsonl
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.learning import Wish, announce, proposal_of, show
    from streamlabel.commands.terminal import quiet_logs, say
    from streamlabel.errors import ConfigError
    from streamlabel.extras import require

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    if suggest is not None or reviews is not None:
        _suggest(reviews, suggest)
        return
    require("learn", "scipy", extra="evaluate")
    if (verdicts is None) == (topic is None):
        raise ConfigError("give either --verdicts FILE or --topic TOPIC")
    if deploy and (out is None or settings.control.topic is None):
        raise ConfigError("--deploy needs --out FILE, and control.topic with control.key")
    if correct_noise and gold is None:
        raise ConfigError("--correct-noise needs --gold FILE: known answers measure reviewers")
    model, now = _in_force(settings, deployment)
    ledger = asyncio.run(_ledger(settings, verdicts, topic))
    wish = Wish(target_error, confidence, max_weight, _known(gold), correct_noise=correct_noise)
    proposal = proposal_of(list(ledger.verdicts.values()), now, model.task, wish)
    show(proposal, now)
    if proposal.tests.is_kept:
        say("nothing is written: nothing changes")
        return
    if out is None:
        say("nothing is written: name a file with --out")
        return
    proposal.file.write(out)
    say(f"written to {out}; set routing.calibration to it")
    if deploy:
        announce(settings, model, out)


def _suggest(reviews: Path | None, count: int | None) -> None:
    from streamlabel.commands.terminal import say
    from streamlabel.errors import ConfigError
    from streamlabel.learning.suggesting import candidates_in, suggest
    from streamlabel.tools.files import open_input

    if reviews is None or count is None:
        raise ConfigError("--suggest N and --reviews FILE belong together")
    with open_input(str(reviews)) as stream:
        candidates = list(candidates_in(stream))
    found = suggest(candidates, count=count)
    for each in found:
        typer.echo(each.line())
    uncertain = sum(each.why == "uncertain" for each in found)
    say(
        f"{len(found):,} of {len(candidates):,} texts: {uncertain:,} uncertain,"
        f" {len(found) - uncertain:,} random; add the field label, and keep weight"
    )


def _in_force(
    settings: "Settings", deployment: str | None
) -> "tuple[DeploymentSettings, CalibrationFile]":
    from streamlabel.config.deployments import all_deployments, for_deployment
    from streamlabel.consumer.routing.calibrated_router import read_calibration
    from streamlabel.errors import ConfigError

    chosen = for_deployment(settings, deployment)
    [model] = [
        each for each in all_deployments(settings) if each.id == deployment or deployment is None
    ]
    file = read_calibration(chosen.routing)
    if file is None:
        raise ConfigError(
            "routing.calibration: learn continues a calibration, and there is none; begin with"
            " streamlabel calibrate"
        )
    if file.answers is not None:
        raise ConfigError(
            "routing.calibration: learn chooses one threshold a label, and this calibration of a"
            " multi-label task has two with a guarantee for each label: run streamlabel calibrate"
            " on labelled texts again"
        )
    return model, file


async def _ledger(settings: "Settings", path: Path | None, topic: str | None) -> "Ledger":
    from streamlabel.commands.terminal import say
    from streamlabel.learning.ledger import verdicts_of_file, verdicts_of_topic
    from streamlabel.models.core.system_clock import SystemClock

    if topic is not None:
        found = await verdicts_of_topic(settings.kafka, topic, SystemClock(), settings.output)
    else:
        found = verdicts_of_file(path or Path("-"))
    if found.unread:
        say(f"{found.unread:,} message(s) are no verdicts and are left out: {found.fault}")
    return found


def _known(gold: Path | None) -> dict[str, str]:
    from streamlabel.quality.labelled import true_labels

    if gold is None:
        return {}
    return {name: labels[0] for name, labels in true_labels(gold).items() if len(labels) == 1}
