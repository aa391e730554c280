"""The file with the costs of errors and reviews."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from streamlabel.config import yaml_file
from streamlabel.config.section import Section
from streamlabel.errors import ConfigError
from streamlabel.quality.choosing import Costs

__all__ = ["read_costs"]

Cost = Annotated[float, Field(gt=0)]

_EXAMPLE = "for example review: 0.5, error: 2 and errors: {hate: 20}"


class _CostsFile(Section):
    """Costs, all in the same unit.

    Attributes:
        review: of one review.
        error: of accepting a wrong label.
        errors: of accepting a wrong label, for labels with another cost.
    """

    review: Cost
    error: Cost | None = None
    errors: dict[str, Cost] = Field(default_factory=dict)


def read_costs(path: Path, labels: Sequence[str]) -> Costs:
    """Return the costs in a file.

    Raises:
        ConfigError: it cannot be read, is incomplete, or has other labels.
    """
    try:
        found = _CostsFile.model_validate(yaml_file.read(path).tree)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(map(str, detail["loc"]))
        raise ConfigError(f"{path}: {where}: {detail['msg'].lower()}; {_EXAMPLE}") from error
    if unknown := sorted(set(found.errors) - set(labels)):
        raise ConfigError(
            f"{path}: errors: {', '.join(unknown)}: the labels are {', '.join(labels)}"
        )
    missing = [label for label in labels if label not in found.errors]
    if missing and found.error is None:
        raise ConfigError(f"{path}: no cost for {', '.join(missing)}: add error, or errors of each")
    return Costs(found.review, dict.fromkeys(labels, found.error or 0.0) | found.errors)
