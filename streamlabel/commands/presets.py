"""``streamlabel presets``: the guard models that are known, and what is known about them."""

from collections.abc import Mapping
from typing import Annotated

import typer

__all__ = ["presets"]


def presets(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the presets for model.preset: moderation models with prompt, answers and licence.

    \b
    Examples:
      streamlabel presets
      streamlabel check --set model.backend=vllm --set model.path=./guard \\
        --set model.preset=llama-guard-3
    """  # noqa: D301 \b keeps the lines as they are
    import json
    from dataclasses import asdict

    from streamlabel.config.encoder_presets import ENCODER_PRESETS
    from streamlabel.config.presets import PRESETS

    if as_json:
        shown = {str(name): asdict(preset) for name, preset in PRESETS.items()}
        shown |= {name: asdict(encoder) for name, encoder in ENCODER_PRESETS.items()}
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False, default=dict))
        return
    for name, preset in PRESETS.items():
        rows = {
            "models": ", ".join(preset.models),
            "labels": ", ".join(preset.labels),
            "needs": ", ".join(
                f"model.chat_template_kwargs.{name}: {what}" for name, what in preset.needs.items()
            ),
            "licence": preset.licence,
            "published": preset.published,
            "verified": (
                "the prompt is a file of ours"
                if preset.prompt_file
                else "the prompt is that of the chat template in the model's folder"
            )
            + (f", compared with {preset.compared}" if preset.compared else ""),
            "not verified": preset.unverified,
        }
        _show(name, rows)
    for title, encoder in ENCODER_PRESETS.items():
        rows = {
            "models": ", ".join(encoder.models),
            "labels": ", ".join(encoder.labels),
            "licence": encoder.licence,
            "published": encoder.published,
            "verified": "nothing but its settings: an encoder has no prompt",
            "not verified": encoder.unverified,
        }
        _show(title, rows)


def _show(name: str, rows: Mapping[str, str]) -> None:
    typer.echo(name)
    for title, value in rows.items():
        if value:
            typer.echo(f"  {title:13} {value}")
