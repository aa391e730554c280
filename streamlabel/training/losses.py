"""Loss functions for training."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamlabel.models.core.labels import ProblemType
from streamlabel.training.fit_settings import Example, FitSettings

__all__ = ["balanced", "loss_of", "weights_of"]

# Maximum class weight: a label with three examples must not dominate the others.
_HEAVIEST = 20
# Largest weight of an example: one audit of 2 % of the traffic would stand for fifty texts, and its
# step would move the model by what is in that text alone.
_HEAVIEST_EXAMPLE = 20.0


def balanced(examples: Sequence[Example], *, like: Sequence[Example]) -> list[Example]:
    """Return examples with weights that let every label count as much as any other.

    Args:
        examples: with one label each.
        like: the examples whose labels are counted: those that are trained on.
    """
    counts = Counter(label for example in like for label in example.right)
    usual = counts.total() / max(1, len(counts))
    return [
        replace(example, weight=example.weight * usual / (counts[label] or usual))
        for example in examples
        for label in example.right
    ]


def weights_of(examples: Sequence[Example]) -> Any:  # noqa: ANN401 a tensor
    """Return the weights of examples in the loss, (N,), 1 in the mean; None: all are alike.

    With a mean of 1 the learning rate means the same as without weights.
    """
    import torch

    if all(example.weight == 1 for example in examples):
        return None
    given = torch.tensor([min(example.weight, _HEAVIEST_EXAMPLE) for example in examples])
    return given / given.mean()


def loss_of(
    targets: Any,  # noqa: ANN401 a tensor
    settings: FitSettings,
    problem_type: ProblemType,
) -> Callable[..., Any]:
    """Return the loss of logits (B, K) against targets (B, K), its mean over the batch.

    The loss takes the weights of the batch's examples, (B,), as a third argument; None: all alike.

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

        def several(logits: Any, right: Any, each: Any = None) -> Any:  # noqa: ANN401 tensors
            smooth = right * (1 - smoothing) + smoothing / 2
            factor = None if each is None else each[:, None]
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits, smooth, weight=factor, pos_weight=weight
            )

        return several
    weight = len(targets) / (len(count) * count.clamp(min=1)) if balanced else None

    def one(logits: Any, right: Any, each: Any = None) -> Any:  # noqa: ANN401 tensors
        classes = right.argmax(dim=1)  # (B,)
        how: dict[str, Any] = {"weight": weight, "label_smoothing": smoothing}
        if each is None:
            return torch.nn.functional.cross_entropy(logits, classes, **how)
        losses = torch.nn.functional.cross_entropy(logits, classes, reduction="none", **how)
        whole = len(classes) if weight is None else weight[classes].sum()
        return (losses * each).sum() / whole

    return one
