"""Learning from verdicts: weights, what is left out, noise of reviewers, and proposals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.errors import ConfigError
from streamlabel.learning.noise import (
    Vote,
    corrected_error,
    dawid_skene,
    gold_errors,
    raised_target,
    votes_of,
)
from streamlabel.learning.proposal import accepted_error, propose
from streamlabel.learning.refit import refit, sample_of
from streamlabel.learning.reviewed import Reviewed, reviewed_of
from streamlabel.learning.suggesting import Candidate, candidates_in, suggest
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.weights import inverse_weights, thinned
from streamlabel.models.core.labels import LabelSet
from tests.unit.learning.test_monitor import calibration, verdict

LABELS = LabelSet(("ham", "spam"))
DIGEST = "d" * 64
SHARE = 0.05


def two_labels(**changes: Any) -> CalibrationFile:  # noqa: ANN401 sections
    file = calibration(
        model=calibration().model.model_dump() | {"labels": list(LABELS.names)},
        thresholds=None,
        stricter={},
    )
    thresholds: dict[str, Any] = {
        "chosen_by": "promise",
        "by_label": {"ham": 0.9, "spam": 0.9},
        "target_error": 0.05,
        "bound": 0.05,
        "confidence": 0.95,
        "summary": "s",
    }
    tree = file.model_dump(by_alias=True, exclude={"id"}) | {"thresholds": thresholds} | changes
    return CalibrationFile.model_validate(tree).with_id()


def traffic(items: int, *, seed: int = 0, overconfident: float = 1.0) -> list[VerdictMessage]:
    """Return verdicts about a stream that is reviewed below 0.9, and audited above."""
    rng = np.random.default_rng(seed)
    found = []
    logits = rng.normal(0, 3.0, items)
    truth = rng.random(items) < 1 / (1 + np.exp(-logits / overconfident))
    for number in range(items):
        spam = float(1 / (1 + np.exp(-logits[number])))
        said = "spam" if spam >= 0.5 else "ham"
        is_sure = max(spam, 1 - spam) >= 0.9
        if is_sure and rng.random() >= SHARE:
            continue
        right = "spam" if truth[number] else "ham"
        found.append(
            verdict(
                number,
                labels=[right],
                model_labels=[said],
                action="confirm" if said == right else "correct",
                model_digest=DIGEST,
                model_probabilities={"ham": 1 - spam, "spam": spam},
                reasons=["audit" if is_sure else "low_confidence"],
                purpose="audit" if is_sure else "review",
                review_probability=SHARE if is_sure else 1.0,
                decided_at=f"2026-11-29T10:{number // 60000:02d}:{number // 1000 % 60:02d}Z",
            )
        )
    return found


def data_of(verdicts: list[VerdictMessage]) -> Reviewed:
    return reviewed_of(verdicts, labels=LABELS, digest=DIGEST)


def test_weights_are_inverse_probabilities_and_say_what_they_amount_to() -> None:
    found = inverse_weights(np.array([1.0] * 90 + [0.02] * 10), most=1000)
    assert found.values[-1] == pytest.approx(50)
    assert found.effective == pytest.approx(590**2 / (90 + 10 * 2500))
    assert found.clipped == 0
    cut = inverse_weights(np.array([1.0, 0.001]), most=100)
    assert (cut.values.tolist(), cut.clipped) == ([1.0, 100.0], 1)


@given(st.lists(st.sampled_from([0.02, 0.1, 0.5, 1.0]), max_size=40))
def test_a_thinned_sample_keeps_the_rarest_and_is_the_same_every_time(
    probabilities: list[float],
) -> None:
    names = [f"r{i}" for i in range(len(probabilities))]
    kept = thinned(names, np.array(probabilities))
    assert (kept == thinned(names, np.array(probabilities))).all()
    for probability, is_kept in zip(probabilities, kept, strict=True):
        assert is_kept or probability > min(probabilities)


def test_a_thinned_sample_has_one_probability() -> None:
    names = [f"r{i}" for i in range(40_000)]
    probabilities = np.tile([0.1, 1.0], 20_000)
    kept = thinned(names, probabilities)
    assert kept[::2].all()
    assert abs(kept[1::2].mean() - 0.1) < 0.012


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task": "other"}, "another task"),
        ({"look": 2}, "not a first look"),
        ({"purpose": "gold"}, "not a first look"),
        ({"model_digest": "e"}, "another model"),
        ({"review_probability": None}, "probability of the review not known"),
        ({"model_probabilities": {"ham": 1.0}}, "probabilities not complete"),
        ({"action": "skip", "labels": None}, "not decided"),
        ({"labels": ["scam"]}, "a label that the model does not have"),
        ({"labels": ["ham", "spam"]}, "several labels, or none"),
    ],
)
def test_what_is_no_data_for_a_fit_is_counted_by_reason(changes: dict[str, Any], why: str) -> None:
    [first, *_] = traffic(200)
    found = data_of([first, first.model_copy(update=changes)])
    assert len(found) == 1
    [name] = found.left_out
    assert name.startswith(why)


def test_audits_that_nobody_decided_raise_the_weight_of_the_others() -> None:
    audits = [each for each in traffic(4000) if each.purpose == "audit"]
    skipped = [each.model_copy(update={"action": "skip", "labels": None}) for each in audits[:20]]
    found = data_of([*skipped, *audits[20:80]])
    assert found.probability == pytest.approx(SHARE * 60 / 80)


def test_a_weighted_fit_finds_the_temperature_and_one_without_weights_does_not() -> None:
    """Records above 0.9 are overconfident, those below are not: review alone shows nothing."""
    data = data_of(traffic(12_000, overconfident=2.0))
    now = Calibration("single_label")
    found = refit(data, now, max_weight=1000)
    assert found.method is not None
    assert found.after < found.before
    assert found.calibration.temperature == pytest.approx(2.0, rel=0.2)


def test_a_fit_that_does_not_describe_later_verdicts_better_is_not_taken() -> None:
    data = data_of(traffic(6000))
    found = refit(data, Calibration("single_label", 1.0), max_weight=1000)
    worse = refit(data, Calibration("single_label", 3.0), max_weight=1000)
    assert worse.method is not None
    assert found.before == pytest.approx(worse.after, rel=0.05)


def test_few_verdicts_are_refused_with_what_they_amount_to() -> None:
    with pytest.raises(ConfigError, match=r"amount to \d+ labels of equal weight"):
        refit(data_of(traffic(300)), Calibration("single_label"), max_weight=1000)


def test_review_alone_proves_nothing() -> None:
    reviews = [each for each in traffic(3000) if each.purpose == "review"]
    with pytest.raises(ConfigError, match=r"no threshold can be proven; set routing\.audit_share"):
        sample_of(data_of(reviews), Calibration("single_label"), LABELS)


def test_a_proposal_is_a_calibration_with_its_own_evidence() -> None:
    data, now = data_of(traffic(16_000, overconfident=1.2)), two_labels()
    found = propose(data, now, target=0.12, tested_at=0.12, confidence=0.95, max_weight=1000)
    assert found.file.id != now.id
    assert found.file.thresholds is not None
    assert found.file.thresholds.target_error == 0.12
    assert 0 < found.tests.records <= len(data)
    assert found.file.evidence.items == len(data)


def in_force(threshold: float, *, target: float = 0.05) -> CalibrationFile:
    section = two_labels().thresholds
    assert section is not None
    limits = dict.fromkeys(LABELS.names, threshold)
    return two_labels(
        thresholds=section.model_dump() | {"by_label": limits, "target_error": target}
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_proposal_never_asks_for_more_review_while_the_target_is_not_refuted(seed: int) -> None:
    """Few audits of labels that are as good as the target: often nothing looser is proven."""
    data, now = data_of(traffic(5000, seed=seed, overconfident=1.1)), in_force(0.9)
    found = propose(data, now, target=0.05, tested_at=0.05, confidence=0.95, max_weight=1000)
    assert not found.tests.is_refuted
    assert found.tests.review_after <= found.tests.review_before
    assert found.tests.is_kept == (found.file == now)
    assert found.tests.is_kept or found.tests.review_after < found.tests.review_before


def test_a_refuted_target_may_ask_for_more_review_and_is_said() -> None:
    data, now = data_of(traffic(40_000, overconfident=2.0)), in_force(0.9, target=0.1)
    found = propose(data, now, target=0.1, tested_at=0.1, confidence=0.95, max_weight=1000)
    assert found.tests.is_refuted
    assert not found.tests.is_kept
    assert found.tests.review_after > found.tests.review_before


def test_a_lower_target_than_that_in_force_may_ask_for_more_review() -> None:
    data, now = data_of(traffic(20_000, overconfident=1.3)), in_force(0.9, target=0.2)
    found = propose(data, now, target=0.05, tested_at=0.05, confidence=0.95, max_weight=1000)
    assert (found.tests.is_kept, found.tests.is_refuted) == (False, False)
    assert found.file.thresholds is not None
    assert found.file.thresholds.target_error == 0.05
    assert found.tests.review_after > found.tests.review_before


def test_the_error_of_accepted_labels_has_bounds_for_what_was_not_decided() -> None:
    data = data_of(traffic(4000, overconfident=2.0))
    found = accepted_error(data, undecided=0)
    assert found is not None
    assert found.best == found.wrong == found.worst
    half = accepted_error(data, undecided=found.audits)
    assert half is not None
    assert (half.best, half.worst) == pytest.approx((found.wrong / 2, found.wrong / 2 + 0.5))


def votes(seed: int, *, items: int = 60, reviewers: int = 5, labels: int = 3) -> list[Vote]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(labels, size=items)
    error = rng.uniform(0.05, 0.4, size=reviewers)
    found = []
    for item in range(items):
        for reviewer in rng.choice(reviewers, size=3, replace=False):
            is_wrong = rng.random() < error[reviewer]
            said = (truth[item] + is_wrong * rng.integers(1, labels)) % labels
            found.append(Vote(item, int(reviewer), int(said)))
    return found


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # of crowd-kit's use of pandas
@pytest.mark.parametrize("seed", range(4))
def test_dawid_skene_agrees_with_crowd_kit(seed: int) -> None:
    rows = votes(seed)
    frame = pd.DataFrame(
        [(v.item, v.reviewer, v.label) for v in rows], columns=["task", "worker", "label"]
    )
    theirs = DawidSkene(n_iter=50, tol=0).fit(frame)
    ours = dawid_skene(rows, labels=3, iterations=50)
    probabilities = theirs.probas_.sort_index()[[0, 1, 2]].to_numpy()
    assert np.abs(ours.truth - probabilities).max() < 0.02


def test_known_answers_settle_what_votes_leave_open() -> None:
    rows = [Vote(0, 0, 0), Vote(0, 1, 1), Vote(1, 0, 0), Vote(1, 1, 1)]
    found = dawid_skene(rows, labels=2, gold={0: 1, 1: 1}, smoothing=0.01)
    assert found.tables[1, 1, 1] > 0.98
    assert found.tables[0, 1, 0] > 0.98
    assert found.error == pytest.approx(0.5, abs=0.01)


def test_only_second_looks_and_gold_measure_reviewers() -> None:
    rows = [
        verdict(1, labels=["ham"]),
        verdict(1, labels=["spam"], action="correct", reviewer="b", review_id="1/2", look=2),
        verdict(2, labels=["ham"]),
        verdict(3, labels=["spam"], action="correct", purpose="gold"),
        verdict(4, labels=None, action="skip", purpose="gold"),
    ]
    found, ids = votes_of(rows, ["ham", "spam"])
    assert sorted(ids.values()) == ["1", "3"]
    assert len(found) == 3
    assert gold_errors(rows, {"3": "ham", "4": "ham", "1": "ham"}) == (1, 1)


def test_a_correction_takes_the_reviewers_errors_away_and_a_test_allows_for_fewer() -> None:
    assert corrected_error(0.069, noise=0.05) == pytest.approx(0.02)
    assert corrected_error(0.01, noise=0.05) == 0.0
    assert raised_target(0.02, wrong=0, judged=0, confidence=0.99) == 0.02
    few, many = (
        raised_target(0.02, wrong=n // 20, judged=n, confidence=0.99) for n in (200, 20_000)
    )
    assert 0.02 < few < many < 0.02 + 0.98 * 0.05


def candidate(number: int, margin: float, text: str = "", share: float = 1.0) -> Candidate:
    words = text or " ".join(f"w{number}x{i}" for i in range(8))
    return Candidate(str(number), words, "ham", margin, share)


def test_half_of_the_suggestions_are_uncertain_and_the_random_half_stands_for_the_rest() -> None:
    known = [candidate(i, margin=i / 100) for i in range(60)]
    audits = [candidate(100 + i, 0.99, share=0.1) for i in range(20)]
    found = suggest([*known, *audits], count=20)
    assert [each.why for each in found] == ["uncertain"] * 10 + ["random"] * 10
    assert [each.candidate.id for each in found[:10]] == [str(i) for i in range(10)]
    assert sum(each.weight for each in found[10:]) == pytest.approx(50 + 200)
    assert sum(each.candidate.probability < 1 for each in found[10:]) >= 5


def test_copies_and_near_copies_of_a_text_are_suggested_once() -> None:
    text = "win a prize now, call this number before it is too late, friend"
    rows = [candidate(i, 0.1, text if i % 2 else f"{text.upper()} !") for i in range(10)]
    assert len(suggest(rows, count=6)) == 1
    assert suggest(rows[1:2], count=6, labelled=[text]) == []


def review(number: int, **changes: object) -> bytes:
    line = {"id": str(number), "text": f"text number {number} {number * 7919}", "label": "ham"}
    return json.dumps(line | {"margin": number / 100} | changes).encode()


def test_review_records_become_candidates(tmp_path: Path) -> None:
    lines = [review(1, audit_probability=0.02), review(1), b"no", review(2, text_truncated=True)]
    lines.append(review(3, margin=None, confidence=0.75))
    found = list(candidates_in(lines))
    assert [(each.id, each.margin, each.probability) for each in found] == [
        ("1", 0.01, 0.02),
        ("3", 0.5, 1.0),
    ]
    path = tmp_path / "review.jsonl"
    path.write_bytes(b"\n".join(review(n) for n in range(40)))
    config = tmp_path / "c.yaml"
    config.write_text("model: {backend: fake, labels: [ham, spam]}\n")
    arguments = ["learn", "-c", str(config), "--suggest", "10", "--reviews", str(path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["why"] for row in rows] == ["uncertain"] * 5 + ["random"] * 5


def test_the_command_says_what_changes_and_writes_a_file(tmp_path: Path) -> None:
    two_labels().write(tmp_path / "calibration.yaml")
    config = tmp_path / "streamlabel.yaml"
    config.write_text(
        "model: {backend: fake, labels: [ham, spam]}\nrouting: {calibration: calibration.yaml}\n"
    )
    file, out = tmp_path / "verdicts.jsonl", tmp_path / "learned.yaml"
    rows = traffic(16_000, overconfident=1.3)
    known = [
        verdict(90_000 + i, purpose="gold", labels=["ham"] if i % 20 else ["spam"])
        for i in range(60)
    ]
    file.write_bytes(b"\n".join(each.encoded() for each in [*rows, *known]))
    gold = tmp_path / "gold.jsonl"
    gold.write_text(
        "\n".join(json.dumps({"id": each.id, "text": "t", "label": "ham"}) for each in known)
    )
    arguments = ["learn", "-c", str(config), "--verdicts", str(file), "--gold", str(gold)]
    done = CliRunner().invoke(app, [*arguments, "--target-error", "0.15", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "corrected for reviewers, who were wrong in 3 of 60 known answers" in done.stdout
    assert "confidences: identity 1.000 -> temperature" in done.stdout
    made = CalibrationFile.read(out)
    assert made.thresholds is not None
    assert made.thresholds.target_error == 0.15
    kept = CliRunner().invoke(app, [*arguments, "--target-error", "0.0501", "--out", str(out)])
    assert kept.exit_code == 0, kept.output
    assert "the calibration in force stays" in kept.stdout
    assert "nothing is written" in kept.stderr
    only_reviews = [each for each in rows if each.purpose == "review"]
    file.write_bytes(b"\n".join(each.encoded() for each in only_reviews))
    refused = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert refused.exit_code == 2
    assert "say nothing about accepted ones" in refused.stderr
