"""The quality table as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.quality_models import Answered, DataSet
from benchmarks.quality_promises import Kept
from benchmarks.quality_tuning import Tuned
from streamlabel.quality.evaluation import Evaluation

__all__ = ["Found", "page", "row"]


@dataclass(frozen=True, slots=True)
class Found:
    """All measurements.

    Attributes:
        halves: means over the random halvings, by data set.
        trials: results of simulations, by kind and target.
        splits: results on random halvings, by data set and target.
        split_count: number of halvings in each.
    """

    chosen: Sequence[DataSet]
    answers: Mapping[str, Answered]
    evaluations: Mapping[str, Evaluation]
    halves: Mapping[str, Mapping[str, float]]
    trials: Mapping[tuple[str, float], Kept]
    splits: Mapping[tuple[str, float], Kept]
    split_count: int
    tuned: Sequence[Tuned]


def row(data_set: DataSet, e: Evaluation, found: Answered) -> str:
    """Return a data set's row of the first table."""
    asked = f">= {data_set.accuracy}"
    if data_set.macro_f1 is not None:
        asked += f", F1 >= {data_set.macro_f1}"
    return (
        f"| {data_set.name} | {e.items:,} | {e.accuracy.value:.4f} ({e.accuracy.low:.3f} to"
        f" {e.accuracy.high:.3f}) | {e.macro_f1.value:.4f} | {asked} |"
        f" {found.train_s:.0f} s |"
    )


def page(found: Found) -> str:
    """Return the page."""
    return "\n\n".join(
        [
            "Trained on train with a twelfth held out for early stopping; measured once on dev.\n"
            "English: MiniLM. Chinese: a two-layer encoder from scratch, tokenizer too.",
            _table(
                "| data | texts | accuracy (95 %) | macro F1 | to reach | training |",
                "| --- | ---: | --- | ---: | --- | ---: |",
                (row(d, found.evaluations[d.name], found.answers[d.name]) for d in found.chosen),
            ),
            "Calibration fitted on one half of dev and measured on the other, then swapped; means"
            " over random\nhalvings. Error above that of a perfectly calibrated model (at most 0.01"
            " asked):",
            _table(
                "| data | error above chance, before | after | log loss before | after |",
                "| --- | ---: | ---: | ---: | ---: |",
                (
                    f"| {name} | {m['raw_excess']:.4f} | {m['excess']:.4f} |"
                    f" {m['raw_log_loss']:.4f} | {m['log_loss']:.4f} |"
                    for name, m in found.halves.items()
                ),
            ),
            "Promises at 95 %, simulated with known truth, 1,250 labels a trial (broken in at most"
            " 5 % asked):",
            _table(
                "| model | target | broken | nothing promised | accepted |",
                "| --- | ---: | ---: | ---: | ---: |",
                (
                    f"| {kind} | {target:.0%} |{_kept(kept)}"
                    for (kind, target), kept in found.trials.items()
                ),
            ),
            f"Promises on {found.split_count} random halvings of dev; broken: the other half's"
            " error is significantly above\nthe target (at most 5 % asked):",
            _table(
                "| data, target | broken | nothing promised | accepted |",
                "| --- | ---: | ---: | ---: |",
                (
                    f"| {name}, {target:.0%} |{_kept(kept)}"
                    for (name, target), kept in found.splits.items()
                ),
            ),
            *(_tuning(found.tuned) if found.tuned else ()),
        ]
    )


def _tuning(tuned: Sequence[Tuned]) -> tuple[str, str]:
    return (
        "One-token tuning of a two-layer Qwen2 (`train llm`), dev answered by both engines (the"
        " same label on\nat least 99.5 % asked). The adapter's base has read text messages only and"
        " an adapter leaves the vocabulary\nas it is, so its accuracy on news says little:",
        _table(
            "| method | data | texts | transformers | vLLM | same label | training |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
            (
                f"| {t.method} | {t.data} | {t.items:,} | {t.accuracy:.4f} |"
                f" {t.vllm_accuracy:.4f} | {t.same_labels:.2%} | {t.train_s:.0f} s |"
                for t in tuned
            ),
        ),
    )


def _kept(kept: Kept) -> str:
    return f" {kept.broken:.1%} | {kept.empty:.1%} | {kept.coverage:.1%} |"


def _table(head: str, rule: str, rows: Iterable[str]) -> str:
    return "\n".join([head, rule, *rows])
