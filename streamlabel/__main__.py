"""The ``streamlabel`` program. Each command is a module; it imports what it needs when it runs."""

import typer

from streamlabel.commands.calibrate import calibrate
from streamlabel.commands.capacity import capacity
from streamlabel.commands.check import check
from streamlabel.commands.classify import classify
from streamlabel.commands.compare import compare
from streamlabel.commands.config import show_asyncapi, show_schema, show_settings
from streamlabel.commands.console import console
from streamlabel.commands.console_database import add_user, purge, verify_log
from streamlabel.commands.demo import demo
from streamlabel.commands.deploy import deploy
from streamlabel.commands.dlq_list import list_dead_letters
from streamlabel.commands.dlq_replay import replay_dead_letters
from streamlabel.commands.dlq_show import show_dead_letter
from streamlabel.commands.drift import drift
from streamlabel.commands.evaluate import evaluate
from streamlabel.commands.health import health
from streamlabel.commands.init import init
from streamlabel.commands.learn import learn
from streamlabel.commands.monitor import monitor
from streamlabel.commands.presets import presets
from streamlabel.commands.produce import produce
from streamlabel.commands.program import Program
from streamlabel.commands.run import run
from streamlabel.commands.tail import tail
from streamlabel.commands.thresholds import thresholds
from streamlabel.commands.train import train_encoder
from streamlabel.commands.train_base import train_base
from streamlabel.commands.train_llm import train_llm
from streamlabel.commands.verdicts_export import export_verdicts
from streamlabel.commands.verdicts_import import import_verdicts
from streamlabel.commands.version import Version, version

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Program,
    name="streamlabel",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="Inspect the configuration.")
config_app.command("show")(show_settings)
config_app.command("schema")(show_schema)
config_app.command("asyncapi")(show_asyncapi)
dlq_app = typer.Typer(no_args_is_help=True, help="Inspect and replay dead letters.")
dlq_app.command("list")(list_dead_letters)
dlq_app.command("show")(show_dead_letter)
dlq_app.command("replay")(replay_dead_letters)

console_app = typer.Typer(invoke_without_command=True)
console_app.callback()(console)
console_app.command("add-user")(add_user)
console_app.command("purge")(purge)
console_app.command("verify-log")(verify_log)

verdicts_app = typer.Typer(no_args_is_help=True, help="Verdicts from and for other tools.")
verdicts_app.command("import")(import_verdicts)
verdicts_app.command("export")(export_verdicts)

train_app = typer.Typer(no_args_is_help=True, help="Train a model on labelled texts.")
train_app.command("encoder")(train_encoder)
train_app.command("base")(train_base)
train_app.command("llm")(train_llm)

app.command()(init)
app.command()(run)
app.command()(check)
app.command()(deploy)
app.command()(capacity)
app.command()(health)
app.command()(presets)
app.command()(classify)
app.command()(produce)
app.command()(tail)
app.add_typer(train_app, name="train")
app.command()(evaluate)
app.command()(calibrate)
app.command()(thresholds)
app.command()(compare)
app.command()(drift)
app.command()(monitor)
app.command()(learn)
app.command()(demo)
app.add_typer(console_app, name="console")
app.add_typer(verdicts_app, name="verdicts")
app.add_typer(dlq_app, name="dlq")
app.add_typer(config_app, name="config")
app.command()(version)


@app.callback()
def streamlabel(*, show_version: Version = False) -> None:
    """Classify texts from Kafka: write labels with confidences, send uncertain ones to review."""


def main() -> None:
    """Run the program and exit."""
    app(prog_name="streamlabel")


if __name__ == "__main__":
    main()
