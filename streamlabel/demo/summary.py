"""The summary of the demo: counts, accuracy, speed, reviews, dead letters and next steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from streamlabel.consumer.observability.columns import Column, Columns
from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.demo.screen import shown
from streamlabel.demo.tally import Answer, Tally, quantile

__all__ = ["Figures", "print_summary"]

# The text is last, see screen. "prohibited 0.99" is the longest label with its confidence.
_TEXT: Final = Column("TEXT")
_REVIEW: Final = (Column("MOST LIKELY", 15), Column("WHAT IT IS", 24), Column("WHY", 30), _TEXT)
_DEAD: Final = (Column("WHAT IT IS", 18), Column("WHY", 56), _TEXT)


@dataclass(frozen=True, slots=True)
class Figures:
    """Measurements besides the outputs.

    Attributes:
        sent: records sent to the input topic.
        read: records of it that the group has committed.
        burst_items: records of the final burst.
        burst_s: from sending its first record to reading its last output.
        paced: outputs of the records before the burst.
    """

    sent: int
    read: int
    burst_items: int
    burst_s: float
    paced: Sequence[Answer]


def print_summary(console: Console, tally: Tally, figures: Figures, *, next_steps: str) -> None:
    """Print everything in the width of the terminal."""
    _print_answers(console, "Review: a person should look", _REVIEW, tally.of("review"))
    _print_answers(console, "Dead letters: kept byte for byte", _DEAD, tally.of("dead letter"))
    console.print()
    labels, review, dead = (tally.count(r) for r in ("label", "review", "dead letter"))
    console.print(
        f"read {figures.read} = labels {labels} + review {review} + dead letters {dead}",
        style="bold",
    )
    right, judged = tally.accuracy()
    sure_right, sure = tally.accuracy(["label"])
    if judged:
        console.print(
            f"accuracy {right / judged:.3f} on {judged} labelled texts that the model had not seen;"
            f" {sure_right / max(1, sure):.3f} on the {sure} that it was sure of"
        )
    latencies_s = [answer.latency_s for answer in figures.paced]
    console.print(
        f"latency p50 {quantile(latencies_s, 0.5) * 1000:.0f} ms,"
        f" p99 {quantile(latencies_s, 0.99) * 1000:.0f} ms from sent to read back,"
        f" for {len(latencies_s)} texts at a limited rate"
    )
    console.print(
        f"throughput {figures.burst_items / figures.burst_s:.0f} texts/s in the final burst of"
        f" {figures.burst_items}"
    )
    if problem := tally.imbalance(sent=figures.sent, read=figures.read):
        console.print(f"The counts do not match: {problem}.", style="bold red")
    console.print(Text(next_steps))


def _print_answers(
    console: Console, title: str, columns: Sequence[Column], answers: Sequence[Answer]
) -> None:
    """Print a table in the width of the terminal; longer cells continue on the next line."""
    table = Columns(columns, width=console.width)
    console.print(Text(f"\n{title} ({len(answers)})", "bold"))
    lines = [Text(table.header(), "dim")]
    for answer in answers:
        values = {
            "MOST LIKELY": f"{answer.label or '-'} {answer.confidence or 0:.2f}",
            "WHAT IT IS": printable(_what(answer)),
            "WHY": shown(answer.why, cells=console.width),
            "TEXT": shown(answer.sample.text, cells=console.width) or "(nothing)",
        }
        lines.append(Text(table.row([values[column.title] for column in columns])))
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _what(answer: Answer) -> str:
    sample = answer.sample
    if sample.label is not None:
        return f"is {sample.label}"
    return {"other_language": f"language: {sample.note}"}.get(sample.kind, sample.note)
