"""``streamlabel train llm``: one-token answers from labelled texts."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from streamlabel.commands.training_options import (
    Base,
    Data,
    Dev,
    Epochs,
    Minutes,
    Out,
    Overwrite,
    Patience,
    PrecisionOption,
    Seed,
)

__all__ = ["train_llm"]

# Default learning rates: low for all weights, so that the model does not forget; higher for an
# adapter.
_LEARNING_RATE = {"full": 2e-5, "lora": 2e-4}


def train_llm(
    data: Data,
    base: Base,
    task: Annotated[
        Path,
        typer.Option(
            "--task",
            metavar="FILE",
            help="YAML file with the classification task, as in model.task: labels,"
            " definitions, instruction.",
            show_default=False,
        ),
    ],
    out: Out,
    *,
    method: Annotated[
        Literal["lora", "full"],
        typer.Option(
            help="What to train. lora: a small adapter for model.adapter; full: all weights."
        ),
    ] = "lora",
    dev: Dev = None,
    epochs: Epochs = 3,
    patience: Patience = 1,
    minutes: Minutes = None,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA adapter.")] = 16,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0, help="Peak learning rate. Default: 2e-4 for lora, 2e-5 for full."),
    ] = None,
    batch_items: Annotated[
        int, typer.Option("--batch", min=1, help="Texts per training step.")
    ] = 16,
    pass_tokens: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum tokens computed at once. A step with more is computed in parts whose"
            " gradients are added up: the same result with less memory.",
        ),
    ] = 1024,
    checkpointing: Annotated[
        bool,
        typer.Option(
            "--checkpointing",
            help="Compute each layer twice instead of keeping its results: less memory, a third"
            " more time.",
        ),
    ] = False,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=32, help="Maximum tokens of a prompt. Longer texts keep their beginning and end."
        ),
    ] = 512,
    device: Annotated[
        str,
        typer.Option(
            help="Device: cpu, cuda[:N], npu[:N], or auto for the first of npu, cuda and cpu"
            " that is available."
        ),
    ] = "auto",
    chat_template: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Jinja chat template to use instead of the model's own.",
            show_default=False,
        ),
    ] = None,
    chat_date: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Date (YYYY-MM-DD) that the chat template gets as today's, as in model.chat_date.",
            show_default=False,
        ),
    ] = None,
    precision: PrecisionOption = "auto",
    seed: Seed = 17,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a language model to answer a task with one token, in the prompt used for serving.

    Ctrl-C and SIGTERM save the best epoch so far. Requires the extra llm.

    \b
    Examples:
      streamlabel train llm --data train.jsonl --base ./qwen --task task.yaml --out ./adapter
      streamlabel train llm --data train.jsonl --dev dev.jsonl --base ./qwen --task task.yaml \\
        --out ./model --method full --device npu:0
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import progress, say
    from streamlabel.commands.training import (
        ending_on_sigterm,
        examples,
        finish,
        learned_and_held,
        line,
        named,
        refuse_taken,
        remember,
        takes_conversations,
    )
    from streamlabel.config.loading import load
    from streamlabel.config.model import GenerativeSettings
    from streamlabel.errors import ConfigError
    from streamlabel.extras import require
    from streamlabel.models.devices.device import choose_device, fastest_precision
    from streamlabel.models.files.checkpoint import open_checkpoint
    from streamlabel.quality.labelled import labels_in
    from streamlabel.quality.model_card import answers_card
    from streamlabel.training.answer_fit import Lora, fit_answers
    from streamlabel.training.fit_settings import FitSettings

    needed = ("torch", "transformers", "safetensors", "tokenizers", "jinja2")
    require("train llm", *needed, *(["peft"] if method == "lora" else []), extra="llm")
    refuse_taken(out, overwrite=overwrite)
    wanted = {"backend": "generative", "path": base, "task": str(task), "device": device}
    wanted |= {} if chat_date is None else {"chat_date": chat_date}
    given = {f"model.{name}": value for name, value in wanted.items()}
    if takes_conversations(task):
        given["input.messages_path"] = "messages"  # of the files of labelled texts
    serving = load(None, overrides=given, environ={}).settings.model
    if not isinstance(serving, GenerativeSettings):  # pragma: no cover - it is what was asked for
        raise ConfigError("model.backend: generative")
    names = serving.task.names
    takes = serving.task.conversations
    refusal = "" if takes else "set conversations: true in the task, or use single texts"
    train, held = learned_and_held(data, dev, known=names, seed=seed, refusal=refusal)
    checkpoint = open_checkpoint(serving)
    kind = choose_device(serving.device).kind
    settings = FitSettings(
        epochs=epochs,
        learning_rate=_LEARNING_RATE[method] if learning_rate is None else learning_rate,
        batch_items=batch_items,
        pass_tokens=pass_tokens,
        checkpointing=checkpointing,
        max_tokens=max_tokens,
        label_smoothing=0.0,
        patience=patience,
        minutes=minutes,
        seed=seed,
        precision=fastest_precision(kind) if precision == "auto" else precision,
    )
    say(f"{len(train):,} training texts, {len(held):,} held out; labels {named(names)}")
    if unseen := sorted({*names} - {*labels_in(train)}):
        say(f"no text is labelled {named(unseen)}: the model will rarely give that answer")
    total = epochs * -(-len(train) // batch_items)
    with ending_on_sigterm(), progress("training", total=total) as update:
        report = fit_answers(
            examples(train),
            serving.task,
            base=checkpoint,
            folder=out,
            settings=settings,
            lora=Lora(rank=rank, alpha=2 * rank) if method == "lora" else None,
            held_out=examples(held),
            device=serving.device,
            chat_template=None if chat_template is None else str(chat_template),
            chat_date=serving.chat_date,
            on_step=lambda done, _total: update(done, ""),
            on_epoch=lambda epoch: say(line(epoch)),
            card=lambda made: answers_card(
                made, names, settings, base=checkpoint.name, data=data.name, method=method
            ),
        )
    remember(out, train, held, base=checkpoint.folder)
    finish(report)
