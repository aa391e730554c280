"""``streamlabel config``: the settings as they are, and the schema of the file."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.loading import Loaded

__all__ = ["setting_rows", "show_schema", "show_settings"]


def show_settings(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what is not the default.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Print every setting with its value and where that comes from; secrets are masked.

    \b
    Examples:
      streamlabel config show -c streamlabel.yaml
      streamlabel config show -c streamlabel.yaml --changed
      streamlabel config show --set model.backend=fake --json
    """  # noqa: D301 \b keeps the lines as they are
    rows = setting_rows(load_settings(config, overrides), changed=changed)
    if as_json:
        settings = {name: {"value": value, "source": source} for name, value, source in rows}
        typer.echo(json.dumps(settings, indent=2, ensure_ascii=False))
        return
    name_width = max((len(name) for name, _, _ in rows), default=0)
    texts = [json.dumps(value, ensure_ascii=False) for _, value, _ in rows]
    value_width = min(40, max(map(len, texts), default=0))
    for (name, _, source), text in zip(rows, texts, strict=True):
        typer.echo(f"{name:<{name_width}}  {text:<{value_width}}  {source}")


def show_schema() -> None:
    """Print the JSON Schema of the configuration file, for editors.

    \b
    Examples:
      streamlabel config schema > streamlabel.schema.json
      (and as the first line of the YAML file:)
      # yaml-language-server: $schema=streamlabel.schema.json
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.config.reference import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def setting_rows(loaded: "Loaded", *, changed: bool) -> list[tuple[str, Any, str]]:
    """Return (dotted name, value, source) of every setting; secrets are masked."""
    values = loaded.settings.model_dump(mode="json")
    rows = []
    for name, origin in loaded.origins.items():
        if changed and origin.kind == "default":
            continue
        rows.append((name, _value_at(values, name), str(origin)))
    return rows


def _value_at(values: Any, name: str) -> Any:  # noqa: ANN401 any setting
    """Walk down a dotted name; the last part may be a label, which may hold dots itself."""
    while name:
        if name in values:
            return values[name]
        part, _, name = name.partition(".")
        values = values[part]
    return values
