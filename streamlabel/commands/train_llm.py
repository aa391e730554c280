"""``streamlabel train llm``: one-token answers from labelled texts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from streamlabel.commands.training_options import (
    Base,
    ClassWeights,
    Data,
    Dev,
    Epochs,
    Minutes,
    Out,
    Overwrite,
    Patience,
    PrecisionOption,
    Resume,
    Seed,
    Seeds,
)

__all__ = ["train_llm"]


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
        typer.Option(
            min=0,
            help="Peak learning rate. Default: 2e-4 for lora and 2e-5 for full at a hidden size of"
            " 4,096, more for smaller models: 9e-4 and 9e-5 at 576.",
        ),
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
        int | None,
        typer.Option(
            min=32,
            help="Maximum tokens of a prompt; set model.max_tokens to the same. Longer texts keep"
            " their beginning and end. Default: as in serving, 4096 or the limit of the base.",
            show_default=False,
        ),
    ] = None,
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
    class_weights: ClassWeights = "none",
    precision: PrecisionOption = "auto",
    seed: Seed = 17,
    seeds: Seeds = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    """Fine-tune a language model to answer a task with one token, in the prompt used for serving.

    Ctrl-C and SIGTERM save the best epoch so far. A training that was stopped by anything goes on
    with --resume. Requires the extra llm.

    \b
    Examples:
      streamlabel train llm --data train.jsonl --base ./qwen --task task.yaml --out ./adapter
      streamlabel train llm --data train.jsonl --dev dev.jsonl --base ./qwen --task task.yaml \\
        --out ./model --method full --device npu:0
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import say
    from streamlabel.commands.training import (
        examples,
        learned_and_held,
        named,
        refuse_taken,
        remember,
        seeds_of,
        takes_conversations,
    )
    from streamlabel.commands.training_runs import Plan, train_with_seeds
    from streamlabel.config.loading import load
    from streamlabel.config.model import GenerativeSettings
    from streamlabel.errors import ConfigError
    from streamlabel.extras import require
    from streamlabel.models.devices.compute_type import fastest_precision
    from streamlabel.models.devices.device import choose_device
    from streamlabel.models.files.checkpoint import open_checkpoint
    from streamlabel.quality.labelled import labels_in
    from streamlabel.quality.model_card import answers_card, source_of
    from streamlabel.training.answer_fit import Lora, fit_answers
    from streamlabel.training.fit_settings import FitReport, FitSettings, default_rate
    from streamlabel.training.state_files import hashed
    from streamlabel.training.training_origin import origin_of

    needed = ("torch", "transformers", "safetensors", "tokenizers", "jinja2")
    require("train llm", *needed, *(["peft"] if method == "lora" else []), extra="llm")
    refuse_taken(out, overwrite=overwrite, resume=resume)
    all_seeds = seeds_of(seeds, seed)
    wanted = {"backend": "generative", "path": base, "task": str(task), "device": device}
    given = {f"model.{name}": value for name, value in wanted.items()}
    given |= {} if chat_date is None else {"model.chat_date": chat_date}
    given |= {} if max_tokens is None else {"model.max_tokens": str(max_tokens)}
    # "messages" is the name in files of labelled texts
    given |= {"input.messages_path": "messages"} if takes_conversations(task) else {}
    serving = load(None, overrides=given, environ={}).settings.model
    if not isinstance(serving, GenerativeSettings):  # pragma: no cover - it is what was asked for
        raise ConfigError("model.backend: generative")
    names = serving.task.names
    refusal = (
        ""
        if serving.task.conversations
        else "set conversations: true in the task, or use single texts"
    )
    train, held = learned_and_held(data, dev, known=names, seed=seed, refusal=refusal)
    sources = [source_of(data, f"{len(train) + (0 if dev else len(held)):,} labelled texts")]
    checkpoint = open_checkpoint(serving)
    kind = choose_device(serving.device).kind
    settings = FitSettings(
        epochs=epochs,
        learning_rate=(
            default_rate(method, checkpoint.hidden_size) if learning_rate is None else learning_rate
        ),
        batch_items=batch_items,
        pass_tokens=pass_tokens,
        checkpointing=checkpointing,
        max_tokens=min(serving.max_tokens, checkpoint.stated_positions() or serving.max_tokens),
        class_weights=class_weights,
        label_smoothing=0.0,
        patience=patience,
        minutes=minutes,
        seed=seed,
        precision=fastest_precision(kind) if precision == "auto" else precision,
    )
    say(f"{len(train):,} training texts, {len(held):,} held out; labels {named(names)}")
    if unseen := sorted({*names} - {*labels_in(train)}):
        say(f"no text is labelled {named(unseen)}: the model will rarely give that answer")
    learned, kept = examples(train), examples(held)
    lora = Lora(rank=rank, alpha=2 * rank) if method == "lora" else None

    def fit(seed: int, folder: Path, **given: Any) -> FitReport:  # noqa: ANN401 see ``Fit``
        with_seed = replace(settings, seed=seed)
        return fit_answers(
            learned, serving.task, base=checkpoint, folder=folder, settings=with_seed, lora=lora,
            held_out=kept, device=serving.device,
            chat_template=None if chat_template is None else str(chat_template),
            chat_date=serving.chat_date, **given,
        )  # fmt: skip

    def complete(folder: Path, kept_seed: int, reports: Mapping[int, FitReport]) -> None:
        card = answers_card(
            reports[kept_seed], names, replace(settings, seed=kept_seed), base=checkpoint.name,
            data=data.name, method=method, sources=sources, seeds=reports,
        )  # fmt: skip
        (folder / "README.md").write_text(card, encoding="utf-8")
        remember(folder, train, held, base=checkpoint.folder)

    about = {
        "method": method,
        "rank": None if lora is None else lora.rank,
        "device": kind,
        "the task": hashed(serving.task.model_dump_json()),
        "the chat template": hashed(chat_template.read_text("utf-8"))
        if chat_template is not None and chat_template.is_file()  # otherwise it is refused later
        else None,
        "chat_date": None if chat_date is None else str(serving.chat_date),
    }
    plan = Plan(
        out=out,
        seeds=all_seeds,
        origin=origin_of(learned, kept, base=checkpoint, settings=settings, more=about),
        steps=epochs * -(-len(train) // batch_items),
        held_out=len(held),
        complete=complete,
    )
    train_with_seeds(fit, plan)
