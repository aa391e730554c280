"""The meaning of a model's outputs: one correct class, any number of them, or a regression."""

from collections.abc import Mapping
from typing import Final, Literal

from streamlabel.errors import ModelLoadError
from streamlabel.models.core.labels import ProblemType

__all__ = ["read_problem_type"]

_KNOWN: Final[Mapping[str, ProblemType]] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
}
# Other tasks whose weights a sequence classifier could load by mistake.
_OTHER_TASKS: Final = ("ForTokenClassification", "ForMultipleChoice", "ForQuestionAnswering")


def read_problem_type(
    config: Mapping[str, object],
    wanted: Literal["auto", "single_label", "multi_label"],
    *,
    outputs: int,
) -> ProblemType:
    """Return the problem type of the settings, else that of the model.

    Args:
        config: the model's config.json.
        wanted: of the settings.
        outputs: how many outputs the model has.

    Raises:
        ModelLoadError: the model is not a classifier, or has too few outputs for one.
    """
    _refuse_other_task(config.get("architectures"))
    if wanted != "auto":
        if wanted == "single_label" and outputs == 1:
            raise ModelLoadError(
                "model.problem_type: single_label needs two outputs or more and the model has"
                " one; set multi_label if its sigmoid is the probability of the one class"
            )
        return wanted
    own = config.get("problem_type")
    if own == "regression" or (own is None and outputs == 1):
        raise ModelLoadError(
            f"model.path: the model is a regression with {outputs} output(s), not a"
            " classifier; name a model with classes, or set model.problem_type"
        )
    if own is None:
        return "single_label"
    known = _KNOWN.get(own) if isinstance(own, str) else None
    if known is None:
        raise ModelLoadError(
            f"model.path: problem_type in config.json is {own!r}, which transformers does not"
            f" know; write {' or '.join(_KNOWN)}, or set model.problem_type"
        )
    return known


def _refuse_other_task(architectures: object) -> None:
    for name in architectures if isinstance(architectures, list) else ():
        if isinstance(name, str) and name.endswith(_OTHER_TASKS):
            raise ModelLoadError(
                f"model.path: the model is a {name} by its config.json, not a sequence classifier;"
                " choose one (its architecture ends in ForSequenceClassification)"
            )
