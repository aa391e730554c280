"""What a fit takes and gives: examples, settings, reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["EpochReport", "Example", "FitReport", "FitSettings", "Precision", "fastest_precision"]

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Example:
    """A text and what is right for it.

    Attributes:
        label: of a single_label task.
        labels: of a multi_label task: any number.
    """

    text: str
    label: str = ""
    labels: tuple[str, ...] = ()

    @property
    def right(self) -> tuple[str, ...]:
        """The right labels, however given."""
        return self.labels or ((self.label,) if self.label else ())


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
        class_weights: ``balanced``: rare labels count as much as frequent ones.
        patience: with held-out examples: stop after so many epochs without a lower loss.
        seed: of the head's first weights, dropout and the order of the examples.
        precision: ``bfloat16``: products are computed in it, weights and sums stay float32; on a
            processor with AVX512-BF16 or AMX that halves the time.
    """

    epochs: int = 8
    learning_rate: float = 2e-4
    warmup: float = 0.1
    batch_items: int = 16
    max_tokens: int = 192
    trained_layers: int | None = 3
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = 2
    seed: int = 17
    precision: Precision = "float32"


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch.

    Attributes:
        number: from 1.
        loss: mean over its examples.
        held_out_loss: mean negative log-likelihood of the held-out examples; None without any.
        is_best: the lowest so far: its weights are kept.
    """

    number: int
    loss: float
    held_out_loss: float | None
    is_best: bool


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit came to.

    Attributes:
        loss: mean over the last epoch.
        fit_s: time it took, loading and saving included.
        epochs: one a finished epoch; the best one's weights were saved.
        was_interrupted: by Ctrl-C; what was best until then was saved.
    """

    folder: Path
    examples: int
    steps: int
    loss: float
    fit_s: float
    epochs: tuple[EpochReport, ...] = ()
    was_interrupted: bool = False


def fastest_precision() -> Precision:
    """Return bfloat16 where this processor computes in it, else float32."""
    import torch

    found = torch.cpu.get_capabilities()
    return "bfloat16" if found.get("avx512_bf16") or found.get("amx_bf16") else "float32"
