"""From the answers of all stages to their calibration files, with one guarantee for the cascade."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from streamlabel.config.cascade import StageSettings
from streamlabel.config.deployments import DeploymentSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.routing.router import routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import (
    ProvenCascade,
    ProvenStage,
    Thresholds,
)
from streamlabel.models.calibration.cascade_choices import NO_ANSWER, StageChoices
from streamlabel.models.calibration.cascade_control import CascadePromise, control_cascade
from streamlabel.quality.calibrating import calibrate, with_reviewed
from streamlabel.quality.choosing import Wish
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import Answers

__all__ = ["CalibratedCascade", "StageAnswers", "calibrate_cascade", "choices_of_stage"]


@dataclass(frozen=True, slots=True)
class StageAnswers:
    """What a stage answered for the labelled texts.

    Attributes:
        model: its settings.
        answers: labels of the texts are in the words of the stage's own model.
    """

    model: DeploymentSettings
    answers: Answers

    @property
    def stage(self) -> StageSettings:
        """Its settings as a stage."""
        if self.model.stage is None:
            raise ValueError("the model is no stage of a cascade. This is a bug.")
        return self.model.stage


@dataclass(frozen=True, slots=True)
class CalibratedCascade:
    """The calibration file of each stage, and the guarantee for all of them together."""

    files: tuple[CalibrationFile, ...]
    promise: CascadePromise


def calibrate_cascade(
    stages: Sequence[StageAnswers], texts: Sequence[LabelledText], *, target: float, level: float
) -> CalibratedCascade:
    """Return the calibrations of a cascade whose guarantee holds for all stages together.

    Args:
        stages: in their order; every one was asked about every text.
        texts: all labelled texts, those for which a stage has no answer, too.
        target: largest share of errors among what all stages accept, in (0, 1).
        level: probability that the target holds, in (0, 1).

    Raises:
        ConfigError: there is no price of a review, too few texts, or no thresholds hold the target.
    """
    review_price = stages[-1].stage.review_price
    if review_price is None:
        raise ConfigError(
            f"{stages[-1].model.path}.review_price: set what a review costs, in the unit of the"
            " prices of the stages; the thresholds follow from them"
        )
    wish = Wish(confidence=level)
    plain = [calibrate(each.answers, wish, _untested(each.model.settings)) for each in stages]
    choices = [
        choices_of_stage(each, file, texts, stages[-1].answers.labels.names)
        for each, file in zip(stages, plain, strict=True)
    ]
    promise = control_cascade(choices, review_price=review_price, target=target, confidence=level)
    if not promise.is_kept:
        raise ConfigError(
            f"no thresholds of the stages hold {target:.1%} with {level:.0%} confidence on"
            f" {len(texts):,} labelled texts: label more texts, or allow more errors".replace(
                "%", " %"
            )
        )
    files = []
    for each, file, limit in zip(stages, plain, promise.chosen.thresholds, strict=True):
        proven = _proven(each, stages, plain, promise, review_price)
        limits = dict.fromkeys(each.answers.labels.names, limit if limit <= 1 else None)
        thresholds = Thresholds(
            chosen_by="cascade",
            by_label=limits,
            bound=target,
            confidence=level,
            summary=str(promise),
            pooled=[list(each.answers.labels.names)],
        )
        tested = file.model_copy(update={"thresholds": thresholds, "cascade": proven})
        files.append(with_reviewed(tested, each.answers, wish))
    return CalibratedCascade(tuple(files), promise)


def choices_of_stage(
    stage: StageAnswers,
    file: CalibrationFile,
    texts: Sequence[LabelledText],
    names: Sequence[str],
) -> StageChoices:
    """Return what routing sees of the answers of a stage, a place for each text.

    Args:
        stage: the answers.
        file: its calibration; thresholds of it do not matter.
        texts: all labelled texts.
        names: the labels of the last stage.
    """
    routing = _untested(stage.model.settings).routing
    policy = routing_policy(stage.answers.labels, routing, calibration=file)
    place = {text.line: index for index, text in enumerate(texts)}
    answer = np.full(len(texts), -1, dtype=np.int64)
    confidence = np.full(len(texts), NO_ANSWER)
    is_open = np.zeros(len(texts), dtype=bool)
    is_wrong = np.ones(len(texts), dtype=bool)
    number = {name: index for index, name in enumerate(names)}
    for text, prediction in zip(stage.answers.texts, stage.answers.predictions, strict=True):
        decision = policy.choose(prediction)
        if decision.confidence is None:
            continue
        at = place[text.line]
        named = [stage.stage.labels.get(name, name) for name in decision.labels]
        answer[at] = _code(number[name] for name in named)
        confidence[at] = decision.confidence
        is_open[at] = not set(decision.reasons) - {"low_confidence"}
        is_wrong[at] = set(decision.labels) != set(text.labels)
    return StageChoices(answer, confidence, is_open, is_wrong, stage.stage.price)


def _code(labels: Iterable[int]) -> int:
    """Return a number for a set of labels; other sets have other ones, up to chance (2**-63)."""
    listed = ",".join(map(str, sorted(labels)))
    return int.from_bytes(hashlib.blake2b(listed.encode(), digest_size=8).digest()) >> 1


def _untested(settings: Settings) -> Settings:
    """Return the settings without thresholds: those act beside the ones of the file."""
    routing = settings.routing.model_copy(
        update={"thresholds": {}, "threshold": None, "calibration": None}
    )
    return settings.model_copy(update={"routing": routing})


def _proven(
    stage: StageAnswers,
    stages: Sequence[StageAnswers],
    files: Sequence[CalibrationFile],
    promise: CascadePromise,
    review_price: float,
) -> ProvenCascade:
    chosen = promise.chosen
    rows = zip(stages, files, chosen.thresholds, chosen.shares, strict=True)
    return ProvenCascade(
        stage=stage.stage.name,
        stages=[
            ProvenStage(
                name=each.stage.name,
                digest=each.answers.identity.digest,
                mapping=_digest(file),
                labels=dict(each.stage.labels),
                threshold=limit if limit <= 1 else None,
                price=each.stage.price,
                decides=round(share, 6),
            )
            for each, file, limit, share in rows
        ],
        target_error=promise.target,
        confidence=promise.confidence,
        texts=promise.labels,
        accepted=chosen.accepted,
        wrong=chosen.errors,
        review_price=review_price,
        cost=round(chosen.cost, 6),
    )


def _digest(file: CalibrationFile) -> str:
    return hashlib.sha256(file.mapping.model_dump_json().encode()).hexdigest()[:12]
