"""What ``streamlabel calibrate`` says about the file that it writes."""

from collections.abc import Iterable

from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.thresholds import NEVER
from streamlabel.quality.label_lines import label_lines

__all__ = ["calibration_lines"]


def calibration_lines(file: CalibrationFile) -> Iterable[str]:
    """Yield the lines about the mapping, the thresholds, and what they do to the labelled texts."""
    mapping, evidence = file.mapping, file.evidence
    yield (
        f"{mapping.method}"
        + (f" {mapping.temperature:.3f}" if "temperature" in mapping.method else "")
        + f": log loss {evidence.log_loss_before:.4f} -> {evidence.log_loss_after:.4f} on held-out"
        f" texts, {evidence.items:,} labels"
    )
    for note in mapping.notes:
        yield f"note: {note}"
    if file.thresholds is None:
        yield "no thresholds chosen: those of the settings apply; see --target-error"
        return
    yield file.thresholds.summary
    yield from _answer_lines(file)
    for name, threshold in ({} if file.answers else file.thresholds.by_label).items():
        shown = "always review" if threshold is None else f"{threshold:.4f}"
        yield f"  {name}: {shown}"
    several = file.model.problem_type == "multi_label"
    yield from label_lines(file.by_label, several=several)
    how = "without it" if several else "under another label"
    for label, limit in file.missed.items():
        yield (
            f"missed {label} <= {limit.target:.1%} ({limit.confidence:.0%}): at most this share of"
            f" its texts is accepted {how}; {limit.texts:,} texts".replace("%", " %")
        )
    for pool in file.thresholds.pooled:
        yield f"one common threshold for {', '.join(pool)}: too few texts for separate ones"


def _answer_lines(file: CalibrationFile) -> Iterable[str]:
    """Yield the thresholds of both answers about each label; nothing if labels have only one."""
    if file.answers is None:
        return
    for name, present in file.limits.items():
        absent, proven = file.absent_limits[name], file.answers.guarantees.get(name)
        low = "never" if absent == NEVER else f"below {1 - absent:.4f}"
        high = "never" if present == NEVER else f"from {present:.4f}"
        line = f"  {printable(name)}: surely absent {low}, surely present {high}"
        if max(absent, present) < 0.5:
            line = f"  {printable(name)}: every answer is accepted"
        if proven is None:
            yield f"{line}; no guarantee"
            continue
        target = f"{proven.target_error:.1%}".replace("%", " %")
        yield (
            f"{line}; wrong in {proven.wrong:,} of {proven.accepted:,} accepted texts,"
            f" guaranteed <= {target}"
        )
