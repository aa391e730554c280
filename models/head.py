"""Fits a classification head, and the top layers under it, on a pretrained encoder.

Any encoder that ``AutoModelForSequenceClassification`` knows; what comes out is an ordinary folder
that the encoder back end, transformers and vLLM load. Meant for hundreds to some thousands of short
texts on a CPU: the lower layers keep what they learned from a billion sentences, which is cheaper
and, with so few examples, no worse than training them too.
"""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.labels import LabelSet
from streamlabel.models.lower import layer_count, lower_states, padded, without_lower

__all__ = ["Example", "FitReport", "FitSettings", "fit_head"]

# Batches of similar lengths are cut from this many shuffled batches at a time: less padding, and
# the order is still random enough.
_POOL_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its right label."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit; the defaults suit a small encoder and a few hundred short texts.

    Attributes:
        epochs: times every example is seen.
        learning_rate: the highest one, after warm-up; it falls to 0 in a straight line.
        warmup: share of the steps in which it rises, in [0, 1).
        batch_items: examples per step.
        max_tokens: longer examples are cut; the fitted model still takes all its positions.
        trained_layers: upper layers that learn, below the head; the results of the others are kept
            in memory (hidden size x 4 bytes per token). None: all, embeddings too.
        label_smoothing: in [0, 1); keeps confidences away from 1 on so few examples.
        seed: of the head's first weights, dropout and the order of the examples.
    """

    epochs: int = 8
    learning_rate: float = 2e-4
    warmup: float = 0.1
    batch_items: int = 16
    max_tokens: int = 192
    trained_layers: int | None = 3
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    seed: int = 17


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit came to.

    Attributes:
        loss: mean over the last epoch.
        fit_s: time it took, loading and saving included.
    """

    folder: Path
    examples: int
    steps: int
    loss: float
    fit_s: float


def fit_head(
    examples: Sequence[Example],
    labels: LabelSet,
    *,
    encoder: Path,
    folder: Path,
    settings: FitSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> FitReport:
    """Fit ``encoder`` to ``examples`` and save it as a sequence classifier in ``folder``.

    Blocks for as long as it takes. The same arguments, machine and library versions give the same
    weights. ``folder`` appears when everything is in it, and not before.

    Args:
        examples: at least one of every label.
        labels: the order of the model's outputs; single_label only.
        encoder: a folder with a pretrained encoder and its tokenizer.
        folder: replaced if it is there.
        settings: the defaults if None.
        on_step: told after every step how many steps are done, and of how many.

    Raises:
        ConfigError: a label has no example, or an example has a label that is not in the set.
        ModelLoadError: ``encoder`` cannot be loaded.
    """
    import torch

    settings = settings or FitSettings()
    _check(examples, labels)
    began_s = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, tokenizer = _load(encoder, labels)
        rows = tokenizer(
            [example.text for example in examples], truncation=True, max_length=settings.max_tokens
        )["input_ids"]
        targets = [labels.index(example.label) for example in examples]
        steps, loss = _train(model, rows, targets, settings, on_step)
    _save(model, tokenizer, folder)
    return FitReport(folder, len(examples), steps, loss, time.monotonic() - began_s)


def _check(examples: Sequence[Example], labels: LabelSet) -> None:
    if labels.problem_type != "single_label":
        raise ConfigError("a head is fitted to single_label tasks only")
    seen = {example.label for example in examples}
    if unknown := sorted(seen - set(labels.names)):
        raise ConfigError(f"examples have labels that the task does not: {', '.join(unknown)}")
    if missing := [name for name in labels.names if name not in seen]:
        raise ConfigError(f"every label needs an example; none has {', '.join(missing)}")


def _load(encoder: Path, labels: LabelSet) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # it would warn that the head is new, which is the point
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder,
            id2label=dict(enumerate(labels.names)),
            label2id={name: i for i, name in enumerate(labels.names)},
            problem_type="single_label_classification",
        )
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{encoder} is no encoder that transformers can load") from error
    return model, tokenizer


def _train(
    model: Any,  # noqa: ANN401 transformers is untyped
    rows: Sequence[Sequence[int]],
    targets: Sequence[int],
    settings: FitSettings,
    on_step: Callable[[int, int], None] | None,
) -> tuple[int, float]:
    """Return the number of steps and the mean loss of the last epoch."""
    import torch

    if settings.trained_layers is None:
        tensors = [torch.tensor(row) for row in rows]
        return _epochs(model, tensors, targets, settings=settings, on_step=on_step)
    first = max(0, layer_count(model) - settings.trained_layers)
    states = lower_states(model, rows, first=first)
    with without_lower(model, first=first):
        return _epochs(model, states, targets, settings=settings, on_step=on_step)


def _epochs(
    model: Any,  # noqa: ANN401 transformers is untyped
    inputs: Sequence[Any],
    targets: Sequence[int],
    *,
    settings: FitSettings,
    on_step: Callable[[int, int], None] | None,
) -> tuple[int, float]:
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    name = "input_ids" if settings.trained_layers is None else "inputs_embeds"
    lengths = [len(row) for row in inputs]
    total = settings.epochs * -(-len(inputs) // settings.batch_items)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: _rate(n, total, settings))
    order = random.Random(settings.seed)  # noqa: S311 no secret
    done, loss_sum = 0, 0.0
    model.train()
    for _ in range(settings.epochs):
        loss_sum = 0.0
        for batch in _batches(lengths, settings.batch_items, order):
            padded_inputs, mask = padded([inputs[i] for i in batch])  # (B, T) or (B, T, hidden)
            logits = model(**{name: padded_inputs}, attention_mask=mask).logits  # (B, K)
            loss = torch.nn.functional.cross_entropy(
                logits,
                torch.tensor([targets[i] for i in batch]),
                label_smoothing=settings.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            loss_sum += loss.item() * len(batch)
            if on_step:
                on_step(done, total)
    model.eval()
    return done, loss_sum / len(inputs)


def _rate(step: int, total: int, settings: FitSettings) -> float:
    rising = (step + 1) / max(1.0, settings.warmup * total)
    return min(1.0, rising, 1.0 - step / total)


def _batches(lengths: Sequence[int], items: int, order: random.Random) -> list[list[int]]:
    """Return indexes of inputs: random batches, in each of which the lengths are similar."""
    shuffled = list(range(len(lengths)))
    order.shuffle(shuffled)
    batches = []
    for start in range(0, len(shuffled), items * _POOL_BATCHES):
        pool = sorted(shuffled[start : start + items * _POOL_BATCHES], key=lengths.__getitem__)
        batches += [pool[i : i + items] for i in range(0, len(pool), items)]
    order.shuffle(batches)
    return batches


def _save(model: Any, tokenizer: Any, folder: Path) -> None:  # noqa: ANN401 untyped library
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
