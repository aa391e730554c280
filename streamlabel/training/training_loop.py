"""The training loop: epochs, and the best weights on held-out examples."""

import time
from collections.abc import Callable
from typing import Any

from streamlabel.models.core.labels import ProblemType
from streamlabel.training.epoch_trainer import EpochTrainer, logits_of
from streamlabel.training.fit_settings import EpochReport, FitSettings
from streamlabel.training.training_rows import TrainingRows
from streamlabel.training.training_run import Course, Judged, TrainingRun
from streamlabel.training.training_state import TrainingState

__all__ = ["run_epochs"]

_HELD_OUT_BATCH_ITEMS = 64


def run_epochs(
    model: Any,  # noqa: ANN401 transformers is untyped
    rows: TrainingRows,
    held_out: TrainingRows | None,
    *,
    settings: FitSettings,
    problem_type: ProblemType,
    on_step: Callable[[int, int], None] | None,
    on_epoch: Callable[[EpochReport], None] | None,
    state: TrainingState | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> Course:
    """Train the model, and keep the weights with the lowest loss on ``held_out``.

    Without held-out examples, keep those of the last step. Ctrl-C ends the training early if there
    is a best epoch already; otherwise KeyboardInterrupt is raised. With a ``state``, the training
    goes on from what it has, as if it had never stopped, and keeps it up to date.

    Raises:
        ConfigError: the state is damaged, or that of another training.
    """

    def stepped(done: int, total: int) -> None:
        run.save_if_due()
        if on_step:
            on_step(done, total)

    trainer = EpochTrainer(model, rows, settings, problem_type, stepped)
    run = TrainingRun(model, rows, trainer, settings, state=state, now_s=now_s)
    run.restore()
    try:
        while run.wants_an_epoch:
            run.course.loss = trainer.epoch()
            run.course.steps = trainer.steps
            judged = None if held_out is None else _judged(model, held_out, problem_type)
            report = run.end_epoch(judged)
            if on_epoch:
                on_epoch(report)
    except KeyboardInterrupt:
        run.interrupt()
    run.finish()
    return run.course


def _judged(
    model: Any,  # noqa: ANN401 untyped
    rows: TrainingRows,
    problem_type: ProblemType,
) -> Judged:
    """Return how good the model is on held-out rows."""
    import torch
    from torch.nn import functional

    model.eval()
    total, hits = 0.0, 0
    order = sorted(range(len(rows.inputs)), key=lambda i: len(rows.inputs[i]))
    with_label, chosen, both = (torch.zeros(rows.targets.shape[1]) for _ in range(3))  # (K,)
    with torch.inference_mode():
        for start in range(0, len(order), _HELD_OUT_BATCH_ITEMS):
            batch = order[start : start + _HELD_OUT_BATCH_ITEMS]
            logits = logits_of(model, [rows.inputs[i] for i in batch])
            right = rows.targets[batch]
            if problem_type == "multi_label":
                loss = functional.binary_cross_entropy_with_logits(logits, right, reduction="sum")
                decided = logits >= 0
            else:
                loss = functional.cross_entropy(logits, right.argmax(dim=1), reduction="sum")
                decided = functional.one_hot(logits.argmax(dim=1), logits.shape[1]) > 0
            truth = right > 0
            hits += int((decided == truth).all(dim=1).sum())
            with_label += truth.sum(dim=0)
            chosen += decided.sum(dim=0)
            both += (decided & truth).sum(dim=0)
            total += loss.item()
    f1 = (2 * both / (with_label + chosen))[with_label > 0]
    macro_f1 = float(f1.mean()) if len(f1) else 0.0
    return Judged(total / len(order), hits / len(order), macro_f1)
