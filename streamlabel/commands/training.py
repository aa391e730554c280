"""Common steps of the training commands: read texts, check the output folder, report progress."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from streamlabel.commands.terminal import say
from streamlabel.config import yaml_file
from streamlabel.config.model import EncoderSettings
from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.errors import ConfigError
from streamlabel.learning.verdict_texts import verdict_texts
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.quality.data_care import refuse_spellings, repeats_in
from streamlabel.quality.labelled import (
    LabelledText,
    labels_in,
    read_labelled,
    refuse_conversations,
    refuse_overlap,
    refuse_single_class,
    unseen,
)
from streamlabel.quality.repeated import write_seen
from streamlabel.training.fit_settings import EpochReport, Example
from streamlabel.training.seed_runs import folder_beside

__all__ = [
    "NO_PAIRS",
    "examples",
    "learned_and_held",
    "limit_of",
    "line",
    "named",
    "refuse_taken",
    "remember",
    "reviewed_texts",
    "seeds_of",
    "takes_conversations",
    "warn_unknown",
]

# Fewer are not enough for training and held-out evaluation.
_LEAST_TEXTS = 20
_SHOWN_LABELS = 10
_MOST_SEEDS = 100
# Why an encoder is not trained on conversations.
NO_PAIRS: Final = (
    "train encoder learns single texts: train pairs with transformers, whose folder the service"
    " loads, or a language model with train llm"
)
# Share of unknown tokens from which on a base is not for the language of the texts.
_MUCH_UNKNOWN = 0.05


def refuse_taken(out: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Raise ConfigError if a training to ``out`` would replace what must not be lost.

    Args:
        out: folder of the model.
        overwrite: a model that is there may be replaced.
        resume: a training that was stopped goes on; the model that it left may be replaced.

    Raises:
        ConfigError: ``out`` is not a model, or a model that may not be replaced, or there is the
            state of a training that was stopped.
    """
    if not out.exists() and not out.resolve().parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.resolve().parent}")
    is_model = any((out / name).is_file() for name in ("config.json", "adapter_config.json"))
    if out.exists() and not is_model:
        raise ConfigError(f"{out} already exists and is not a model folder; choose another --out")
    beside = folder_beside(out)
    if beside.exists():
        if not resume:
            raise ConfigError(
                f"{beside} has the state of a training that was stopped; go on with --resume, or"
                " delete it to begin again"
            )
        return
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} already contains a model; choose another --out, or --overwrite")
    if resume:
        say(f"there is no state in {beside}: the training begins")


def limit_of(base: Checkpoint, settings: EncoderSettings) -> int:
    """Return the longest row for training: ``--max-tokens``, or the one that serving would take.

    Raises:
        ConfigError: the base has fewer positions, or says nothing about its length.
    """
    try:
        return base.max_tokens(settings, positions=base.likely_positions())
    except ConfigError as error:
        said = str(error).removeprefix("model.max_tokens: ")
        raise ConfigError(f"--max-tokens, of {base.name}: {said}") from error


def seeds_of(given: str | None, first: int) -> tuple[int, ...]:
    """Return the seeds that ``--seeds`` and ``--seed`` ask for.

    Raises:
        ConfigError: it is no number, no list of numbers, or a number of seeds that nobody means.
    """
    if given is None:
        return (first,)
    try:
        found = tuple(int(part) for part in given.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--seeds {printable(given)}: write how many seeds, such as 3, or a list such as"
            " 17,23,42"
        ) from error
    if len(found) > 1:
        return tuple(dict.fromkeys(found))
    if not 1 <= found[0] <= _MOST_SEEDS:
        raise ConfigError(
            f"--seeds {found[0]}: a number of seeds is from 1 to {_MOST_SEEDS}; for one seed use"
            " --seed"
        )
    return tuple(range(first, first + found[0]))


def learned_and_held(
    data: Path,
    dev: Path | None,
    *,
    known: Sequence[str] | None = None,
    several: bool = False,
    seed: int,
    refusal: str = "",
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Return the training texts and the held-out texts: ``dev``, or a tenth of ``data``.

    Args:
        data: file of labelled texts.
        dev: file of held-out texts.
        known: the valid labels; None: any.
        several: a text may have any number of labels.
        seed: of the choice of held-out texts.
        refusal: why conversations are refused, and what to do; empty: they are not.

    Raises:
        ConfigError: a file is refused, or there are too few texts.
    """
    texts = read_labelled(data, known=known, several=several)
    if refusal:
        refuse_conversations(texts, data, why=refusal)
    refuse_spellings(texts, data.name)
    refuse_single_class(texts, data)
    if repeats := str(repeats_in(texts)):
        say(f"{data.name}: {repeats}")
    if dev is not None:
        held = read_labelled(dev, known=known or labels_in(texts), several=several)
        if refusal:
            refuse_conversations(held, dev, why=refusal)
        refuse_overlap(held, dev, texts, data)
        return texts, held
    if len(texts) < _LEAST_TEXTS:
        raise ConfigError(
            f"{data.name}: {len(texts)} texts are too few for training and a held-out part; use at"
            " least a few hundred"
        )
    random.Random(seed).shuffle(texts)  # noqa: S311 no secret
    cut = max(2, len(texts) // 10)
    held = texts[:cut]
    rest = unseen(texts[cut:], held)  # a duplicate must not be in both parts
    lost = sorted(set(labels_in(texts)) - set(labels_in(rest)))
    if lost:
        raise ConfigError(f"{data.name}: too few texts of {', '.join(lost)}; add more")
    return rest, held


def reviewed_texts(
    verdicts: Path | None,
    reviews: Path | None,
    held: Sequence[LabelledText],
    known: Sequence[str],
    *,
    several: bool,
) -> list[LabelledText]:
    """Return the texts that reviewers decided, without those held out, and say how many.

    Raises:
        ConfigError: one of the files is missing or refused, or a verdict has an unknown label.
    """
    if verdicts is None or reviews is None:
        raise ConfigError(
            "--verdicts and --reviews go together: verdicts have no texts, and review records have"
            " no decisions"
        )
    found = verdict_texts(verdicts, reviews)
    say(f"{verdicts.name}: {found}")
    texts = list(found.texts)
    refuse_conversations(texts, reviews, why=NO_PAIRS)
    if unknown := sorted(set(labels_in(texts)) - set(known)):
        raise ConfigError(f"{verdicts.name}: has labels that --data has not: {', '.join(unknown)}")
    if not several and any(len(text.labels) != 1 for text in texts):
        raise ConfigError(f"{verdicts.name}: has verdicts with several labels, or none: --problem")
    return unseen(texts, held)


def takes_conversations(task: Path) -> bool:
    """Return whether the task of a file is about conversations; False if there is no such file.

    Raises:
        ConfigError: it is no YAML file.
    """
    return task.is_file() and yaml_file.read(task).tree.get("conversations") is True


def warn_unknown(base: Path, texts: Sequence[LabelledText]) -> None:
    """Say if the tokenizer of a base does not know much of the texts: another language."""
    from streamlabel.training.new_base import unknown_share

    share = unknown_share(base, [text.text for text in texts])
    if share > _MUCH_UNKNOWN:
        say(
            f"warning: {base} does not know {share:.0%} of the tokens of these texts, probably"
            " their script; choose a base for the language, or make one with streamlabel train base"
        )


def examples(texts: Iterable[LabelledText]) -> list[Example]:
    """Convert the texts to training examples."""
    return [Example(text.text, labels=text.labels, weight=text.weight) for text in texts]


def named(labels: Sequence[str]) -> str:
    """Return labels for a message, shortened."""
    shown = ", ".join(map(printable, labels[:_SHOWN_LABELS]))
    more = len(labels) - _SHOWN_LABELS
    return shown + (f" and {more} more" if more > 0 else "")


def line(epoch: EpochReport) -> str:
    """Return the line that reports an epoch."""
    held = "" if epoch.held_out_loss is None else f", held out {epoch.held_out_loss:.4f}"
    return f"epoch {epoch.number}: loss {epoch.loss:.4f}{held}" + (" *" if epoch.is_best else "")


def remember(
    folder: Path, trained: Sequence[LabelledText], held: Sequence[LabelledText], *, base: Path
) -> None:
    """Keep keyed hashes of the texts in the model folder: ``calibrate`` refuses these texts."""
    write_seen(folder, [t.text for t in trained], [t.text for t in held], base=base)
