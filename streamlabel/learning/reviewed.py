"""Verdicts as data for a fit: scores, true labels, and the probability of having been reviewed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.learning.monitor import is_audit
from streamlabel.models.calibration.calibration import log_scores_of
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet

__all__ = ["Reviewed", "reviewed_of"]

# Reasons for review that a threshold can change; with any other one the record stays in review.
_OF_CONFIDENCE = {"low_confidence", "audit"}


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Decided reviews, in the order of their decisions.

    Attributes:
        verdicts: N.
        ids: of the reviews, N.
        log_scores: shape (N, K), before calibration.
        truth: shape (N, K), as the reviewers decided.
        probability: shape (N,), of having been reviewed and decided.
        is_open: shape (N,): nothing but its confidence sends it to review.
        is_audit: shape (N,): accepted, and drawn for the audit.
        left_out: number of verdicts that are not in it, by reason.
    """

    verdicts: tuple[VerdictMessage, ...]
    ids: tuple[str, ...]
    log_scores: NDArray[np.float64]
    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    is_open: NDArray[np.bool_]
    is_audit: NDArray[np.bool_]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.ids)


def reviewed_of(
    verdicts: Iterable[VerdictMessage],
    *,
    labels: LabelSet,
    digest: str,
    task: str | None = None,
) -> Reviewed:
    """Return the first looks at records of one model that were decided.

    Args:
        verdicts: in any order.
        labels: of the model.
        digest: of the model.
        task: its name; None: the stream has only one.

    The probability is that of the review times the share of its kind that was decided: of ten
    audits of which one is skipped, the nine others stand for it.
    """
    left_out: Counter[str] = Counter()
    usable: list[VerdictMessage] = []
    decided: Counter[bool] = Counter()
    asked: Counter[bool] = Counter()
    for verdict in verdicts:
        why = _left_out(verdict, labels, digest, task)
        if why is not None:
            left_out[why] += 1
            if why != "not decided":
                continue
        asked[is_audit(verdict)] += 1
        if why is None:
            decided[is_audit(verdict)] += 1
            usable.append(verdict)
    usable.sort(key=lambda verdict: verdict.decided_at)
    audits = np.array([is_audit(verdict) for verdict in usable], dtype=bool)
    looked = {kind: decided[kind] / asked[kind] for kind in asked}
    shares = np.array([looked[bool(kind)] for kind in audits], dtype=np.float64)
    names = labels.names
    return Reviewed(
        verdicts=tuple(usable),
        ids=tuple(verdict.review_id for verdict in usable),
        log_scores=np.array(
            [_log_scores(verdict, labels) for verdict in usable], dtype=np.float64
        ).reshape(len(usable), len(names)),
        truth=np.array(
            [[name in (verdict.labels or ()) for name in names] for verdict in usable], dtype=bool
        ).reshape(len(usable), len(names)),
        probability=shares * [verdict.review_probability or 1.0 for verdict in usable],
        is_open=np.array([set(v.reasons) <= _OF_CONFIDENCE for v in usable], dtype=bool),
        is_audit=audits,
        left_out=left_out,
    )


def _left_out(
    verdict: VerdictMessage, labels: LabelSet, digest: str, task: str | None
) -> str | None:
    """Return why a verdict is no data for a fit; None: it is."""
    raw = _raw(verdict)
    chosen = verdict.labels
    faults = {
        "another task": verdict.task != task,
        "not a first look": verdict.look != 1 or verdict.purpose not in {"review", "audit"},
        "another model": verdict.model_digest != digest,
        "probability of the review not known": verdict.review_probability is None,
        "probabilities not complete (see output.probabilities)": (
            raw is None or raw.keys() != set(labels.names)
        ),
        "not decided": chosen is None,
        "a label that the model does not have": not set(chosen or ()) <= set(labels.names),
        "several labels, or none": (
            labels.problem_type == "single_label" and chosen is not None and len(chosen) != 1
        ),
    }
    return next((why for why, holds in faults.items() if holds), None)


def _raw(verdict: VerdictMessage) -> Mapping[str, float] | None:
    return verdict.raw_probabilities or verdict.model_probabilities


def _log_scores(verdict: VerdictMessage, labels: LabelSet) -> Sequence[float]:
    raw = _raw(verdict) or {}
    return log_scores_of(Prediction(tuple(raw[name] for name in labels.names)), labels.problem_type)
