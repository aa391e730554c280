"""``streamlabel config``: the effective settings, and the schema of the file."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings
from streamlabel.commands.terminal import NoHeader

if TYPE_CHECKING:
    from streamlabel.config.loading import Loaded

__all__ = ["setting_rows", "show_asyncapi", "show_schema", "show_settings"]


def show_settings(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    changed: Annotated[
        bool, typer.Option("--changed", help="Show only settings that differ from their default.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    no_header: NoHeader = False,
) -> None:
    """Print every setting with its value and source; secrets are masked.

    \b
    Examples:
      streamlabel config show -c streamlabel.yaml
      streamlabel config show -c streamlabel.yaml --changed
      streamlabel config show --set model.backend=fake --json
    """  # noqa: D301 \b keeps the lines as they are
    from rich.cells import cell_len

    from streamlabel.consumer.observability.columns import Column, Columns

    rows = setting_rows(load_settings(config, overrides), changed=changed)
    if as_json:
        settings = {name: {"value": value, "source": source} for name, value, source in rows}
        typer.echo(json.dumps(settings, indent=2, ensure_ascii=False))
        return
    texts = [json.dumps(value, ensure_ascii=False) for _, value, _ in rows]
    names = max((cell_len(name) for name, _, _ in rows), default=0)
    values = min(40, max(map(cell_len, texts), default=0))
    table = Columns(
        [Column("SETTING", names), Column("VALUE", values), Column("SOURCE")], width=None
    )
    if not no_header:
        typer.echo(table.header())
    for (name, _, source), text in zip(rows, texts, strict=True):
        typer.echo(table.row([name, text, source]))


def show_schema() -> None:
    """Print the JSON Schema of the configuration file, for editors.

    Back ends and formats of other installed distributions are in it.

    \b
    Examples:
      streamlabel config schema > streamlabel.schema.json
      (and as the first line of the YAML file:)
      # yaml-language-server: $schema=streamlabel.schema.json
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import say
    from streamlabel.config import installed
    from streamlabel.config.reference import json_schema
    from streamlabel.errors import ConfigError

    others = []
    for kind in installed.GROUPS:
        for name in installed.names(kind):
            try:
                others.append(installed.find(kind, name))
            except ConfigError as error:
                say(f"left out: the {kind} {name}: {error}")
    typer.echo(json.dumps(json_schema(others), indent=2, ensure_ascii=False))


def show_asyncapi(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Print the contract of the configured service as AsyncAPI 3, in YAML.

    Channels, messages with their schemas, and Kafka's bindings; without secrets.

    \b
    Examples:
      streamlabel config asyncapi -c streamlabel.yaml > asyncapi.yaml
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.tools.async_api import as_yaml

    typer.echo(as_yaml(load_settings(config, overrides).settings), nl=False)


def setting_rows(loaded: "Loaded", *, changed: bool) -> list[tuple[str, Any, str]]:
    """Return (dotted name, value, source) of every setting.

    Secrets are masked, and credentials inside addresses.
    """
    from streamlabel.config.masking import masked

    values = loaded.settings.model_dump(mode="json")
    rows = []
    for name, origin in loaded.origins.items():
        if changed and origin.kind == "default":
            continue
        rows.append((name, masked(_value_at(values, name)), str(origin)))
    return rows


def _value_at(values: Any, name: str) -> Any:  # noqa: ANN401 any setting
    """Look up a dotted name; the last part may be a label, which may contain dots itself."""
    while name:
        if not isinstance(values, list) and name in values:
            return values[name]
        part, _, name = name.partition(".")
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values
