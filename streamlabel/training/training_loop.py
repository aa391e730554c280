"""The training loop: batches, loss, schedule, and the best weights on held-out examples."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamlabel.models.core.labels import ProblemType
from streamlabel.training.fit_settings import EpochReport, FitSettings
from streamlabel.training.frozen_layers import padded
from streamlabel.training.losses import loss_of
from streamlabel.training.training_rows import TrainingRows, batches

__all__ = ["Course", "run_epochs"]

_HELD_OUT_BATCH_ITEMS = 64


@dataclass(slots=True)
class Course:
    """The history of a training."""

    steps: int = 0
    loss: float = 0.0
    epochs: list[EpochReport] = field(default_factory=list)
    was_interrupted: bool = False


def run_epochs(
    model: Any,  # noqa: ANN401 transformers is untyped
    rows: TrainingRows,
    held_out: TrainingRows | None,
    *,
    settings: FitSettings,
    problem_type: ProblemType,
    on_step: Callable[[int, int], None] | None,
    on_epoch: Callable[[EpochReport], None] | None,
    now_s: Callable[[], float] = time.monotonic,
) -> Course:
    """Train the model, and keep the weights with the lowest loss on ``held_out``.

    Without held-out examples, keep those of the last step. Ctrl-C ends the training early if there
    is a best epoch already; otherwise KeyboardInterrupt is raised.
    """
    course, best = Course(), _Best(settings.patience)
    began_s = now_s()
    trainer = _Trainer(model, rows, settings, problem_type, on_step)
    try:
        for number in range(1, settings.epochs + 1):
            course.loss = trainer.epoch()
            course.steps = trainer.steps
            held, right = None, None
            if held_out is not None:
                held, right = _judged(model, held_out, problem_type)
            is_best = best.takes(model, number, held)
            report = EpochReport(number, course.loss, held, is_best, right)
            course.epochs.append(report)
            if on_epoch:
                on_epoch(report)
            took_s = (now_s() - began_s) * (number + 1) / number  # with one epoch more
            is_late = settings.minutes is not None and took_s > 60 * settings.minutes
            if is_late or best.is_past(number):
                break
    except KeyboardInterrupt:
        if best.state is None:
            raise
        course.was_interrupted = True
    if best.state is not None:
        model.load_state_dict(best.state, strict=False)  # frozen weights are not in it
    model.eval()
    return course


class _Trainer:
    """Optimizer, schedule and order of the examples; trains one epoch at a time."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 transformers is untyped
        rows: TrainingRows,
        settings: FitSettings,
        problem_type: ProblemType,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        import torch

        self.steps = 0
        self._model = model
        self._rows = rows
        self._settings = settings
        self._on_step = on_step
        self._loss_of = loss_of(rows.targets, settings, problem_type)
        self._lengths = [len(row) for row in rows.inputs]
        self._total = settings.epochs * -(-len(rows.inputs) // settings.batch_items)
        self._order = random.Random(settings.seed)  # noqa: S311 no secret
        self._learning = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._learning,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            # one pass over the weights instead of ten; accelerators have other optimisations
            fused=all(weight.device.type == "cpu" for weight in self._learning),
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda n: _rate(n, self._total, settings)
        )

    def epoch(self) -> float:
        """Train on every example once; return the mean loss."""
        import torch

        self._model.train()
        loss_sum = 0.0
        kind = self._learning[0].device.type
        shared = self._rows.shared_tokens
        items = self._settings.batch_items
        for batch in batches(self._lengths, items, self._order, is_padded=not shared):
            self._optimizer.zero_grad()
            drawn = self._rows.of(batch)
            given = None if self._rows.weights is None else self._rows.weights[batch]
            for part in drawn.parts(self._settings.pass_tokens, shared):
                with torch.autocast(
                    kind, torch.bfloat16, enabled=self._settings.precision == "bfloat16"
                ):
                    logits = _logits(self._model, [drawn.inputs[i] for i in part])
                weights = None if given is None else given[part]
                loss = self._loss_of(logits.float(), drawn.targets[part], weights)
                # the mean over the batch, from the means over its parts
                (loss * (len(part) / len(batch))).backward()
                loss_sum += loss.item() * len(part)
            torch.nn.utils.clip_grad_norm_(self._learning, 1.0)
            self._optimizer.step()
            self._schedule.step()
            self.steps += 1
            if self._on_step:
                self._on_step(self.steps, self._total)
        return loss_sum / len(self._lengths)


class _Best:
    """The weights of the epoch with the lowest held-out loss."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._loss = float("inf")
        self._number = 0
        self.state: dict[str, Any] | None = None

    def takes(self, model: Any, number: int, loss: float | None) -> bool:  # noqa: ANN401 untyped
        if loss is None or loss >= self._loss:
            return loss is None
        self._loss, self._number = loss, number
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        self.state = {n: v.clone() for n, v in model.state_dict().items() if n not in frozen}
        return True

    def is_past(self, number: int) -> bool:
        return self.state is not None and number - self._number >= self._patience


def _logits(model: Any, inputs: Sequence[Any]) -> Any:  # noqa: ANN401 torch modules and tensors
    batch, mask = padded(inputs)  # (B, T) or (B, T, hidden)
    name = "inputs_embeds" if batch.is_floating_point() else "input_ids"
    return model(**{name: batch}, attention_mask=mask).logits  # (B, K)


def _judged(
    model: Any,  # noqa: ANN401 untyped
    rows: TrainingRows,
    problem_type: ProblemType,
) -> tuple[float, float]:
    """Return the mean loss, and the share of rows of which every label is right."""
    import torch
    from torch.nn import functional

    model.eval()
    total, hits = 0.0, 0
    order = sorted(range(len(rows.inputs)), key=lambda i: len(rows.inputs[i]))
    with torch.inference_mode():
        for start in range(0, len(order), _HELD_OUT_BATCH_ITEMS):
            batch = order[start : start + _HELD_OUT_BATCH_ITEMS]
            logits = _logits(model, [rows.inputs[i] for i in batch])
            right = rows.targets[batch]
            if problem_type == "multi_label":
                loss = functional.binary_cross_entropy_with_logits(logits, right, reduction="sum")
                hits += int(((logits >= 0) == (right > 0)).all(dim=1).sum())
            else:
                loss = functional.cross_entropy(logits, right.argmax(dim=1), reduction="sum")
                hits += int((logits.argmax(dim=1) == right.argmax(dim=1)).sum())
            total += loss.item()
    return total / len(order), hits / len(order)


def _rate(step: int, total: int, settings: FitSettings) -> float:
    rising = (step + 1) / max(1.0, settings.warmup * total)
    return min(1.0, rising, 1.0 - step / total)
