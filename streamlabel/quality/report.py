"""Writes the report of an evaluation, page and JSON, atomically."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from streamlabel.config.settings import Settings
from streamlabel.consumer.routing.calibrated_router import policy_of, read_calibration
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.quality.accepted import Accepted, judge_accepted
from streamlabel.quality.evaluation import Evaluation, Scored
from streamlabel.quality.page import document, page
from streamlabel.quality.scoring import Answers

__all__ = ["accepted_of", "scored_of", "write_report"]


def scored_of(answers: Answers, settings: Settings) -> tuple[Scored, RoutingPolicy]:
    """Return the predictions as the service would publish them, and the policy that routes them.

    Raises:
        ConfigError: the calibration cannot be read, or does not fit model and settings.
    """
    file = read_calibration(settings.routing)
    policy = policy_of(answers.labels, answers.identity, answers.hints, settings, file)
    calibration = policy.calibration or Calibration(answers.labels.problem_type)
    rows = [calibration.probabilities(prediction) for prediction in answers.predictions]
    scored = Scored(answers.labels, np.array(rows, dtype=np.float64), answers.truth)
    return scored, policy


def accepted_of(
    answers: Answers, scored: Scored, policy: RoutingPolicy, settings: Settings
) -> Accepted:
    """Return what the thresholds in force accept, and whether guarantees held.

    Guarantees are judged for the calibration as it was made or with stricter thresholds only.

    Raises:
        ConfigError: the calibration cannot be read.
    """
    holds = policy.change != "loosened"
    return judge_accepted(
        scored,
        answers.texts,
        answers.is_accepted(policy),
        truncated=np.array([p.truncated for p in answers.predictions], dtype=bool),
        lost=answers.unanswered + len(answers.failed),
        calibration=read_calibration(settings.routing) if holds else None,
        sure=answers.is_sure(policy) if scored.is_multi else None,
    )


def write_report(
    folder: Path,
    evaluation: Evaluation,
    scored: Scored,
    answers: Answers,
    accepted: Accepted,
    *,
    about: dict[str, Any],
) -> None:
    """Write ``report.html`` and ``report.json``.

    Raises:
        ConfigError: the folder cannot be created or written to.
    """
    title = f"{answers.identity.name} on {about['data']}"
    numbers = document(evaluation, answers, accepted, about=about)
    files = {
        "report.json": json.dumps(numbers, indent=1, ensure_ascii=False) + "\n",
        "report.html": page(evaluation, scored, answers, accepted, title=title, about=about),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_text(content, encoding="utf-8")
            partial.replace(folder / name)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from error
