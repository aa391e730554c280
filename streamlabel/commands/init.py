"""``streamlabel init``: write a commented configuration file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["init"]

# The same as in streamlabel.config.starter; a test compares them.
Backend = Literal["encoder", "generative", "prompted", "vllm", "remote", "fake"]


def init(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="File to write. - is standard output.")
    ] = Path("streamlabel.yaml"),
    *,
    backend: Annotated[
        Backend,
        typer.Option(
            "--backend",
            "-b",
            help="Model back end. encoder: a BERT-type classifier; generative, prompted: a"
            " chat model on transformers; vllm: a model on vLLM; remote: an"
            " OpenAI-compatible endpoint; fake: no model, to try out everything else.",
        ),
    ] = "encoder",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Model folder, or the name of the model at the endpoint.",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[
        str,
        typer.Option(
            "--topic",
            metavar="TOPIC",
            help="Name of the input topic; the output topics are named after it.",
        ),
    ] = "messages",
    brokers: Annotated[
        str,
        typer.Option(
            "--bootstrap-servers", metavar="HOST:PORT", help="Address of the Kafka cluster."
        ),
    ] = "localhost:9092",
) -> None:
    """Write a commented configuration file. An existing file is never overwritten.

    \b
    Examples:
      streamlabel init --model ./my-model
      streamlabel init --backend generative --model ./qwen --topic tickets tickets.yaml
      streamlabel init - | less
    """  # noqa: D301 \b keeps the lines as they are
    import secrets

    from streamlabel.commands.terminal import say
    from streamlabel.config.starter import starter_file
    from streamlabel.errors import ConfigError

    shown = "streamlabel.yaml" if str(file) == "-" else str(file)
    content = starter_file(
        backend,
        file=shown,
        model=model,
        topic=topic,
        brokers=brokers,
        audit_key=secrets.token_hex(16),
    )
    if str(file) == "-":
        typer.echo(content, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(content)
    except FileExistsError as error:
        raise ConfigError(
            f"{file} already exists and was not changed; choose another file"
        ) from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})") from error
    say(f"wrote {file}; adapt it as its comments say, then run: streamlabel check -c {file}")
