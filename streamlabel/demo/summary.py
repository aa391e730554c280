"""The demo's last page: does it add up, how good, how fast, who needs a person, and what next."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamlabel.demo.screen import shown
from streamlabel.demo.tally import Answer, Tally, quantile

__all__ = ["Figures", "print_summary"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured besides the answers.

    Attributes:
        sent: records put on the input topic.
        read: records of it that the group has committed.
        burst_items: records of the closing burst.
        burst_s: from its first record posted to its last answer read.
        paced: answers to what came before the burst.
    """

    sent: int
    read: int
    burst_items: int
    burst_s: float
    paced: Sequence[Answer]


def print_summary(console: Console, tally: Tally, figures: Figures, *, next_steps: str) -> None:
    """Print everything; tables leave out what would not fit a line."""
    console.print(_answers_table("Review: a person should look", tally.of("review")))
    console.print(_answers_table("Dead letters: kept byte for byte", tally.of("dead letter")))
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
        f" p99 {quantile(latencies_s, 0.99) * 1000:.0f} ms from posted to read back,"
        f" while {len(latencies_s)} texts came at a pace"
    )
    console.print(
        f"throughput {figures.burst_items / figures.burst_s:.0f} texts/s over the closing burst of"
        f" {figures.burst_items} at once"
    )
    if problem := tally.imbalance(sent=figures.sent, read=figures.read):
        console.print(f"It does not add up: {problem}.", style="bold red")
    console.print(Text(next_steps))


def _answers_table(title: str, answers: Sequence[Answer]) -> Table:
    is_review = any(answer.route == "review" for answer in answers)
    table = Table(title=f"{title} ({len(answers)})", title_justify="left", expand=True)
    table.add_column("text", ratio=5, no_wrap=True)
    table.add_column("what it is", ratio=3, no_wrap=True)
    if is_review:
        table.add_column("most likely", width=15)
    table.add_column("why", ratio=2 if is_review else 5)
    for answer in answers:
        cells = [shown(answer.sample.text) or "(nothing)", _what(answer)]
        if is_review:
            cells.append(f"{answer.label or '-'} {answer.confidence or 0:.2f}")
        table.add_row(*(Text(cell) for cell in [*cells, shown(answer.why, characters=120)]))
    return table


def _what(answer: Answer) -> str:
    sample = answer.sample
    if sample.label is not None:
        return f"is {sample.label}"
    return {"other_language": f"language: {sample.note}"}.get(sample.kind, sample.note)
