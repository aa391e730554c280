"""The calibration that ``streamlabel calibrate`` writes and the service loads: one YAML file.

It names the model it was fitted on, and is refused for any other.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from streamlabel.config import yaml_file
from streamlabel.config.section import Section
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, Calibration
from streamlabel.models.calibration.thresholds import NEVER
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet, ProblemType

__all__ = ["CalibrationFile", "Conformal", "Evidence", "FittedOn", "Reference", "Thresholds"]

Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(gt=0, le=1)]

_ID_DIGITS = 16


class FittedOn(Section):
    """The model whose scores were calibrated."""

    name: str
    backend: str
    digest: str
    prompt_version: str | None = None
    device: str
    dtype: str
    labels: list[str] = Field(min_length=1)
    problem_type: ProblemType


class Mapped(Section):
    """How scores become probabilities; by label where it differs by label."""

    method: str
    temperature: float = Field(1.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    bias: dict[str, float] = Field(default_factory=dict)
    slopes: dict[str, float] = Field(default_factory=dict)
    offsets: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class Thresholds(Section):
    """Minimum confidence to accept a label; null: the label always goes to review."""

    chosen_by: Literal["promise", "budget", "costs"]
    by_label: dict[str, Threshold | None]
    target_error: float | None = None
    bound: Probability
    confidence: Probability
    summary: str
    pooled: list[list[str]] = Field(default_factory=list)


class Conformal(Section):
    """How improbable a label may be and still be on a reviewer's list."""

    miss_rate: Probability
    limits: dict[str, Probability]


class Reference(Section):
    """Statistics of the calibration data; later traffic is compared with them."""

    items: int = Field(ge=1)
    labels: dict[str, int]
    confidence_quantiles: list[Probability] = Field(min_length=2)
    length_quantiles: list[float] = Field(min_length=2)


class Evidence(Section):
    """The data that the calibration was fitted to, and its effect on held-out texts."""

    made_on: str = Field(description="Date, UTC.")
    items: int = Field(ge=1)
    by_label: dict[str, int]
    log_loss_before: float
    log_loss_after: float
    versions: dict[str, str] = Field(default_factory=dict)


class CalibrationFile(Section):
    """Everything that turns raw scores into routes, with its evidence."""

    schema_: Literal["streamlabel.calibration/v1"] = Field(
        "streamlabel.calibration/v1", alias="schema"
    )
    id: str = ""
    model: FittedOn
    mapping: Mapped
    thresholds: Thresholds | None = None
    conformal: Conformal | None = None
    reference: Reference | None = None
    evidence: Evidence

    @model_validator(mode="after")
    def _names_only_its_labels(self) -> Self:
        labels = self.model.labels
        mapping = self.mapping
        complete = [mapping.bias, mapping.slopes, mapping.offsets]
        if self.thresholds is not None:
            complete.append(dict.fromkeys(self.thresholds.by_label, 0.0))
        if self.conformal is not None:
            complete.append(self.conformal.limits)
        for by_label in complete:
            if by_label and sorted(by_label) != sorted(labels):
                raise ValueError(f"every label needs a value: {', '.join(labels)}")
        if bool(mapping.slopes) != bool(mapping.offsets):
            raise ValueError("mapping: slopes and offsets belong together")
        return self

    @property
    def calibration(self) -> Calibration:
        """The mapping from scores to probabilities."""
        labels, mapping = self.model.labels, self.mapping
        bias, slopes, offsets = (
            tuple(part[label] for label in labels) if part else ()
            for part in (mapping.bias, mapping.slopes, mapping.offsets)
        )
        return Calibration(self.model.problem_type, mapping.temperature, bias, slopes, offsets)

    @property
    def limits(self) -> dict[str, float]:
        """Label -> threshold, ``NEVER`` included; empty if the file has none."""
        if self.thresholds is None:
            return {}
        return {k: NEVER if t is None else t for k, t in self.thresholds.by_label.items()}

    @property
    def threshold_set_id(self) -> str | None:
        """Id of the thresholds alone; None if the file has none."""
        if self.thresholds is None:
            return None
        return _digest(json.dumps(self.thresholds.by_label, sort_keys=True))

    def with_id(self) -> Self:
        """Return the same with its id: a digest of everything else."""
        return self.model_copy(update={"id": self._digest()})

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        tree = self.model_dump(mode="json", by_alias=True, exclude_none=False)
        text = yaml.safe_dump(
            tree, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
        )
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(f"# {_ADVICE}\n{text}", encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the content of a file.

        Raises:
            ConfigError: it cannot be read, is not a calibration, or was edited by hand.
        """
        tree = yaml_file.read(path).tree
        try:
            found = cls.model_validate(tree)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            where = ".".join(map(str, detail["loc"])) or "the file"
            raise ConfigError(
                f"{path}: {where}: {detail['msg']}; write it again with streamlabel calibrate"
            ) from error
        if found != found.with_id():
            raise ConfigError(
                f"{path}: its content does not match its id {found.id or '(none)'}: it was changed"
                " by hand; set thresholds in routing.thresholds, or calibrate again"
            )
        return found

    def check(self, labels: LabelSet, identity: ModelIdentity, *, path: Path) -> list[str]:
        """Return warnings; refuse a model that it was not fitted on.

        Raises:
            ConfigError: weights, tokenizer, labels or prompt differ; the message says which.
        """
        model = self.model
        differences = []
        if tuple(model.labels) != labels.names or model.problem_type != labels.problem_type:
            differences.append(
                f"labels ({model.problem_type} {', '.join(model.labels)}, not"
                f" {labels.problem_type} {', '.join(labels.names)})"
            )
        if model.digest != identity.digest:
            differences.append(
                f"weights, tokenizer or label names (digest {model.digest[:12]}, not"
                f" {identity.digest[:12]})"
            )
        if model.prompt_version != identity.prompt_version:
            differences.append(
                f"prompt (version {model.prompt_version or 'none'}, not"
                f" {identity.prompt_version or 'none'})"
            )
        if differences:
            raise ConfigError(
                f"routing.calibration: {path} was fitted on another model: {'; '.join(differences)}"
                " differ. Run streamlabel calibrate with this model, or remove routing.calibration"
            )
        return [
            f"{path} was fitted on {what} {before}, the model runs on {now}: its numbers may differ"
            for what, before, now in (
                ("device", model.device.split(":")[0], identity.device.split(":")[0]),
                ("dtype", model.dtype, identity.dtype),
            )
            if before != now
        ]

    def _digest(self) -> str:
        return _digest(self.model_dump_json(by_alias=True, exclude={"id"}))


_ADVICE = (
    "Written by streamlabel calibrate; refused if it is edited by hand."
    " Set your own thresholds in routing.thresholds."
)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]
