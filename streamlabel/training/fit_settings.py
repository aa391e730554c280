"""Input and output of a training: examples, settings, reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from streamlabel.models.devices.compute_type import ComputeType

__all__ = ["EpochReport", "Example", "FitReport", "FitSettings", "default_rate"]

# Learning rates of language models with a hidden size of 4,096: low for all weights, so that the
# model does not forget; higher for an adapter.
_RATES: Final = {"full": 2e-5, "lora": 2e-4}
_WIDTH: Final = 4096
# How rates fall with the width: Thinking Machines, "LoRA without regret" (2025), Llama models.
_FALLS: Final = 0.78
_MOST: Final = 5  # times as high for narrow models


def default_rate(method: Literal["full", "lora"], hidden_size: int | None) -> float:
    """Return the peak learning rate of a language model if none is given.

    Args:
        method: what is trained.
        hidden_size: of the model; None: not known, taken as 4,096.
    """
    times: float = min(_MOST, (_WIDTH / (hidden_size or _WIDTH)) ** _FALLS)
    return _RATES[method] * times


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its correct labels.

    Attributes:
        label: of a single_label task.
        labels: of a multi_label task: any number.
        weight: in the loss, > 0: how many texts of the traffic it stands for.
    """

    text: str
    label: str = ""
    labels: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def right(self) -> tuple[str, ...]:
        """The correct labels in either form."""
        return self.labels or ((self.label,) if self.label else ())


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Training settings; the defaults suit a small encoder and a few hundred short texts.

    Attributes:
        epochs: maximum number of passes over the examples.
        learning_rate: peak after warm-up, followed by linear decay to 0.
        warmup: fraction of the steps with increasing learning rate, in [0, 1).
        batch_items: examples per step.
        pass_tokens: maximum padded tokens that are computed at once; a step with more has several
            passes, whose gradients are added up, so memory does not grow with ``batch_items``.
            None: no limit.
        checkpointing: keep no activations of layers and compute them twice: half the memory or
            less, a third more time. Language models only.
        max_tokens: longer examples are truncated, in training and, unless ``model.max_tokens`` is
            set, in serving; the folder of the model keeps it. At most the positions of the model.
        trained_layers: number of upper layers that are trained, besides the head; outputs of the
            frozen layers are kept in memory (hidden size x 4 bytes per token). None: all layers
            and the embeddings.
        label_smoothing: in [0, 1); keeps confidences away from 1 on so few examples.
        class_weights: ``balanced``: rare labels count as much as frequent ones.
        patience: with held-out examples: stop after so many epochs without a lower loss.
        minutes: no epoch is begun that would end later, going by the ones before; the first one is
            always finished. None: no limit.
        seed: of the head's initial weights, dropout and the order of the examples.
        precision: ``bfloat16``: matrix products use it, trained weights and sums stay in float32;
            where the processor multiplies faster in it (``fastest_precision``), and on
            accelerators, this halves the time.
    """

    epochs: int = 8
    learning_rate: float = 2e-4
    warmup: float = 0.1
    batch_items: int = 16
    pass_tokens: int | None = None
    checkpointing: bool = False
    max_tokens: int = 192
    trained_layers: int | None = 3
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = 2
    minutes: float | None = None
    seed: int = 17
    precision: ComputeType = "float32"


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The results of one epoch.

    Attributes:
        number: from 1.
        loss: mean over its examples.
        held_out_loss: mean negative log-likelihood of the held-out examples; None without any.
        held_out_accuracy: share of them of which every label is right; None without any.
        is_best: it has the lowest held-out loss so far, and its weights are kept.
        held_out_macro_f1: mean F1 of the labels that occur in them; None without any.
    """

    number: int
    loss: float
    held_out_loss: float | None
    is_best: bool
    held_out_accuracy: float | None = None
    held_out_macro_f1: float | None = None


@dataclass(frozen=True, slots=True)
class FitReport:
    """The results of a training.

    Attributes:
        loss: mean over the last epoch.
        fit_s: duration, loading and saving included, with that of the processes before this one.
        epochs: one per finished epoch; the weights of the best one were saved.
        was_interrupted: by Ctrl-C; the best epoch until then was saved.
    """

    folder: Path
    examples: int
    steps: int
    loss: float
    fit_s: float
    epochs: tuple[EpochReport, ...] = ()
    was_interrupted: bool = False

    @property
    def best(self) -> EpochReport | None:
        """The epoch whose weights were saved; None if no epoch has ended."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.is_best), None)
