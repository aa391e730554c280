"""Loss functions for training."""

from collections.abc import Callable
from typing import Any

from streamlabel.models.core.labels import ProblemType
from streamlabel.training.fit_settings import FitSettings

__all__ = ["loss_of"]

# Maximum class weight: a label with three examples must not dominate the others.
_HEAVIEST = 20


def loss_of(
    targets: Any,  # noqa: ANN401 a tensor
    settings: FitSettings,
    problem_type: ProblemType,
) -> Callable[[Any, Any], Any]:
    """Return the loss of logits (B, K) against targets (B, K), its mean over the batch.

    Args:
        targets: of all examples, shape (N, K); class weights are derived from them.
        settings: label smoothing, class weights.
        problem_type: softmax over the labels, or a sigmoid for each.
    """
    import torch

    balanced = settings.class_weights == "balanced"
    smoothing = settings.label_smoothing
    count = targets.sum(dim=0)  # (K,)
    if problem_type == "multi_label":
        odds = (len(targets) - count) / count.clamp(min=1)
        weight = odds.clamp(max=_HEAVIEST) if balanced else None

        def several(logits: Any, right: Any) -> Any:  # noqa: ANN401 tensors
            smooth = right * (1 - smoothing) + smoothing / 2
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits, smooth, pos_weight=weight
            )

        return several
    weight = len(targets) / (len(count) * count.clamp(min=1)) if balanced else None

    def one(logits: Any, right: Any) -> Any:  # noqa: ANN401 tensors
        return torch.nn.functional.cross_entropy(
            logits, right.argmax(dim=1), weight=weight, label_smoothing=smoothing
        )

    return one
