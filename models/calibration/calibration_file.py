"""The calibration that ``streamlabel calibrate`` writes and the service loads: one YAML file.

It names the model it was fitted on, and is refused for any other.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from streamlabel.config import yaml_file
from streamlabel.config.section import Section
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_sections import (
    BothAnswers,
    Conformal,
    Evidence,
    FittedOn,
    LabelOutcome,
    Mapped,
    MissedLimit,
    PrecisionUsed,
    PredictionSets,
    ProvenCascade,
    ProvenUnder,
    Reference,
    Threshold,
    Thresholds,
)
from streamlabel.models.calibration.thresholds import NEVER
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet

__all__ = ["CalibrationFile"]

_ID_DIGITS = 16

# Sections that version 1 of the file does not have: its id is a digest without them.
_SINCE_V2 = {
    "settings",
    "precision",
    "prediction_sets",
    "by_label",
    "missed",
    "stricter",
    "answers",
    "cascade",
}
# Sections that were added to version 2 later: without them the id is a digest of the rest.
_ADDED_TO_V2 = {"stricter", "answers", "cascade"}


class CalibrationFile(Section):
    """Everything that turns raw scores into routes, with its evidence.

    Version 1 has no ``settings``: it is read, and its thresholds are used, but nobody knows under
    which settings they were tested; ``check`` says so. Its prediction sets are not used.
    """

    schema_: Literal["streamlabel.calibration/v1", "streamlabel.calibration/v2"] = Field(
        "streamlabel.calibration/v2", alias="schema"
    )
    id: str = ""
    model: FittedOn
    settings: ProvenUnder | None = None
    precision: PrecisionUsed | None = None
    mapping: Mapped
    thresholds: Thresholds | None = None
    by_label: dict[str, LabelOutcome] = Field(default_factory=dict)
    missed: dict[str, MissedLimit] = Field(default_factory=dict)
    stricter: dict[str, list[Threshold]] = Field(
        default_factory=dict,
        description="Thresholds that are proven, too, ascending: for `streamlabel monitor`.",
    )
    answers: BothAnswers | None = None
    cascade: ProvenCascade | None = None
    conformal: Conformal | None = None
    prediction_sets: PredictionSets | None = None
    reference: Reference | None = None
    evidence: Evidence

    @model_validator(mode="after")
    def _names_only_its_labels(self) -> Self:
        labels, mapping = self.model.labels, self.mapping
        complete = [mapping.bias, mapping.slopes, mapping.offsets]
        if self.thresholds is not None:
            complete.append(dict.fromkeys(self.thresholds.by_label, 0.0))
        if self.answers is not None:
            complete += [dict.fromkeys(each, 0.0) for each in self.answers.complete]
        complete += [s.limits for s in (self.conformal, self.prediction_sets) if s is not None]
        for by_label in complete:
            if by_label and sorted(by_label) != sorted(labels):
                raise ValueError(f"every label needs a value: {', '.join(labels)}")
        guaranteed = {} if self.answers is None else self.answers.guarantees
        if unknown := sorted({*self.stricter, *guaranteed} - set(labels)):
            raise ValueError(f"{', '.join(unknown)}: not a label of the model")
        if bool(mapping.slopes) != bool(mapping.offsets):
            raise ValueError("mapping: slopes and offsets belong together")
        return self

    @model_validator(mode="after")
    def _has_answers_of_several_labels_only(self) -> Self:
        has_place = self.thresholds is not None and self.model.problem_type == "multi_label"
        if self.answers is not None and not has_place:
            raise ValueError("answers: only beside thresholds, and in a multi_label task")
        return self

    @model_validator(mode="after")
    def _is_of_its_version(self) -> Self:
        later = [name for name in _SINCE_V2 | _ADDED_TO_V2 if getattr(self, name)]
        if self.schema_.endswith("v1") and later:
            raise ValueError(f"{min(later)}: version 1 of the file has no such section")
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
    def absent_limits(self) -> dict[str, float]:
        """Label -> threshold of its absence; empty if ``limits`` are for both answers."""
        absent = {} if self.answers is None else self.answers.absent
        return {k: NEVER if t is None else t for k, t in absent.items()}

    @property
    def threshold_set_id(self) -> str | None:
        """Id of the thresholds alone; None if the file has none."""
        if self.thresholds is None:
            return None
        found = self.thresholds.by_label
        both = found if self.answers is None else [found, self.answers.absent]
        return _digest(json.dumps(both, sort_keys=True))

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
        warnings = []
        if self.settings is None:
            warnings.append(
                f"{path} does not say under which settings its thresholds were tested, because an"
                " older version wrote it, and its prediction sets are left out, because in review"
                " they missed more than stated: run streamlabel calibrate again"
            )
        before, now = (device.split(":")[0] for device in (model.device, identity.device))
        if before != now:
            warnings.append(
                f"{path} was fitted on device {before}, the model runs on {now}: its numbers may"
                " differ"
            )
        return warnings

    def _digest(self) -> str:
        absent = _SINCE_V2 if self.schema_.endswith("v1") else _ADDED_TO_V2
        later = {name for name in absent if not getattr(self, name)}
        return _digest(self.model_dump_json(by_alias=True, exclude={"id", *later}))


_ADVICE = (
    "Written by streamlabel calibrate; refused if it is edited by hand."
    " Set your own thresholds in routing.thresholds."
)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]
