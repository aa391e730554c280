"""A simulated stream with verdicts, whose truth is known: what `streamlabel learn` makes of it.

python simulate.py                         writes settings, calibration.yaml, verdicts.jsonl
python simulate.py --measure learned.yaml  applies two calibrations to 50,000 new texts
"""

import argparse
import random
from collections.abc import Iterator
from math import exp
from pathlib import Path

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Prediction

LABELS = ("ham", "spam")
TOO_SURE = 1.6  # the model's logits are larger by this factor than what they mean
AUDIT_SHARE = 0.05
SETTINGS = """\
model: {backend: fake, labels: [ham, spam]}
routing: {calibration: calibration.yaml}
"""


def texts(count: int, seed: int) -> Iterator[tuple[float, str, float]]:
    """Yield for each text the probability of spam that the model gives, its label, and a draw."""
    rng = random.Random(seed)
    for _ in range(count):
        logit = rng.gauss(0, 4)
        is_spam = rng.random() < 1 / (1 + exp(-logit / TOO_SURE))
        yield 1 / (1 + exp(-logit)), LABELS[is_spam], rng.random()


def in_force() -> CalibrationFile:
    """Return the calibration in force: probabilities as they are, thresholds of 0.9."""
    return CalibrationFile.model_validate(
        {
            "model": {
                "name": "m", "backend": "fake", "digest": "d" * 64, "device": "cpu",
                "dtype": "float32", "labels": LABELS, "problem_type": "single_label",
            },
            "mapping": {"method": "identity"},
            "thresholds": {
                "chosen_by": "budget", "by_label": dict.fromkeys(LABELS, 0.9),
                "target_error": 0.05, "bound": 0.05, "confidence": 0.95, "summary": "by hand",
            },
            "evidence": {
                "made_on": "2026-11-29", "items": 1, "by_label": {"ham": 1},
                "log_loss_before": 1.0, "log_loss_after": 1.0,
            },
        }
    ).with_id()  # fmt: skip


def write() -> None:
    """Write the files."""
    Path("streamlabel.yaml").write_text(SETTINGS)
    in_force().write(Path("calibration.yaml"))
    lines = []
    for number, (spam, right, draw) in enumerate(texts(20_000, seed=1)):
        said, sure = LABELS[spam >= 0.5], max(spam, 1 - spam) >= 0.9
        if sure and draw >= AUDIT_SHARE:
            continue
        minute = number // 60
        verdict = VerdictMessage.model_validate(
            {
                "schema": "streamlabel.verdict/v1", "review_id": f"r{number}", "id": str(number),
                "action": "confirm" if said == right else "correct", "labels": [right],
                "model_labels": [said], "model_probabilities": {"ham": 1 - spam, "spam": spam},
                "saw_model_answer": False, "reviewer": "anna",
                "decided_at": f"2026-11-29T{minute // 60:02}:{minute % 60:02}:{number % 60:02}Z",
                "purpose": "audit" if sure else "review",
                "reasons": ["audit" if sure else "low_confidence"],
                "review_probability": AUDIT_SHARE if sure else 1.0, "model_digest": "d" * 64,
            }
        )  # fmt: skip
        lines.append(verdict.encoded())
    Path("verdicts.jsonl").write_bytes(b"\n".join(lines))
    print(f"{len(lines):,} verdicts about 20,000 texts")


def measure(path: Path) -> None:
    """Print what the calibration in force and another one do to new texts."""
    for name, file in (("before", in_force()), ("after", CalibrationFile.read(path))):
        accepted = wrong = 0
        gap = 0.0
        for spam, right, _ in texts(50_000, seed=2):
            shown = file.calibration.probabilities(Prediction((1 - spam, spam))) or ()
            label = LABELS[shown[1] >= 0.5]
            gap += max(shown) - (label == right)
            if max(shown) >= file.limits[label]:
                accepted += 1
                wrong += label != right
        print(
            f"{name}: review {1 - accepted / 50_000:.1%}, accepted error {wrong / accepted:.1%},"
            f" confidence above accuracy by {100 * gap / 50_000:.1f} points".replace("%", " %")
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path)
    given = parser.parse_args().measure
    write() if given is None else measure(given)
