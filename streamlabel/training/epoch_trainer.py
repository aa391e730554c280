"""Trains one epoch: batches, loss, optimizer and schedule, each of which can be stopped between."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamlabel.models.core.labels import ProblemType
from streamlabel.training.fit_settings import FitSettings
from streamlabel.training.frozen_layers import padded
from streamlabel.training.losses import loss_of
from streamlabel.training.training_rows import TrainingRows, batches

__all__ = ["EpochTrainer", "logits_of"]


class EpochTrainer:
    """Optimizer, schedule and order of the examples; trains one epoch at a time.

    Args:
        model: in training; its frozen parameters have no gradients.
        rows: to train on.
        settings: of the training.
        problem_type: of the labels.
        on_step: called after every step with the number of finished steps and the total.

    Attributes:
        learning: the trained parameters by name, each once, in the order of the optimizer.
        optimizer: with its state for these.
        order: what shuffles the next epoch.
        order_before: the state of ``order`` before the open epoch; None: no epoch is open.
        batches_done: steps of the open epoch.
        loss_sum: of the examples of the open epoch so far.
        steps: of all epochs.
        is_between_steps: weights and optimizer are those of a whole number of steps.
    """

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
        self.batches_done = 0
        self.loss_sum = 0.0
        self.order = random.Random(settings.seed)  # noqa: S311 no secret
        self.order_before: Any = None
        self.is_between_steps = True
        self.learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._model = model
        self._rows = rows
        self._settings = settings
        self._on_step = on_step
        of_labels = replace(settings, class_weights="none") if rows.weighs_labels else settings
        self._loss_of = loss_of(rows.targets, of_labels, problem_type)
        self._lengths = [len(row) for row in rows.inputs]
        self._total = settings.epochs * -(-len(rows.inputs) // settings.batch_items)
        weights = list(self.learning.values())
        self.optimizer = torch.optim.AdamW(
            weights,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            # one pass over the weights instead of ten; accelerators have other optimisations
            fused=all(weight.device.type == "cpu" for weight in weights),
        )

    def epoch(self) -> float:
        """Train on every example once, or on the rest of an open epoch; return the mean loss.

        The epoch stays open until ``end``, so that what follows it can be done again.
        """
        if self.order_before is None:
            self.order_before = self.order.getstate()
            self.batches_done, self.loss_sum = 0, 0.0
        else:
            self.order.setstate(self.order_before)
        self._model.train()
        items, is_padded = self._settings.batch_items, not self._rows.shared_tokens
        found = batches(self._lengths, items, self.order, is_padded=is_padded)
        for batch in found[self.batches_done :]:
            self.is_between_steps = False
            self._step(batch)
            self.batches_done += 1
            self.steps += 1
            self.is_between_steps = True
            if self._on_step:
                self._on_step(self.steps, self._total)
        return self.loss_sum / len(self._lengths)

    def end(self) -> None:
        """Close the epoch."""
        self.order_before = None

    def _step(self, batch: Sequence[int]) -> None:
        import torch

        settings = self._settings
        weights = list(self.learning.values())
        self.optimizer.zero_grad()
        drawn = self._rows.of(batch)
        given = None if self._rows.weights is None else self._rows.weights[batch]
        lost = 0.0
        for part in drawn.parts(settings.pass_tokens, self._rows.shared_tokens):
            with torch.autocast(
                weights[0].device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
            ):
                logits = logits_of(self._model, [drawn.inputs[i] for i in part])
            each = None if given is None else given[part]
            loss = self._loss_of(logits.float(), drawn.targets[part], each)
            # the mean over the batch, from the means over its parts
            (loss * (len(part) / len(batch))).backward()
            lost += loss.item() * len(part)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(self.steps, self._total, settings)
        self.optimizer.step()
        self.loss_sum += lost


def logits_of(model: Any, inputs: Sequence[Any]) -> Any:  # noqa: ANN401 torch modules and tensors
    """Return the logits (B, K) of rows of token ids (T,) or hidden states (T, hidden)."""
    batch, mask = padded(inputs)  # (B, T) or (B, T, hidden)
    name = "inputs_embeds" if batch.is_floating_point() else "input_ids"
    return model(**{name: batch}, attention_mask=mask).logits  # (B, K)


def _rate(step: int, total: int, settings: FitSettings) -> float:
    """Return the factor of the learning rate: it rises in the warm-up, then falls to 0."""
    rising = (step + 1) / max(1.0, settings.warmup * total)
    return min(1.0, rising, 1.0 - step / total)
