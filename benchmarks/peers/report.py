"""The results of the runs: figures and page."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.kafka_to_kafka import Measured
from benchmarks.peers.contenders import OURS, PEERS

__all__ = ["Answers", "Runs", "agreement", "answers", "bars", "figures", "page"]

_EQUAL = 0.995  # share of labels as ours in fp32, or a rate says nothing
_NOTES = (
    "Infinity sorts by length in windows of 8 batches; it gets requests of 32 texts, 16 at"
    " once, so that it can sort a full window, and does without BetterTransformer, which was"
    " the slower one when tried on a CPU. Quix Streams has no batches of changing size, so its"
    " model reads text by text, without padding. MLServer's Hugging Face runtime (1.7.1) is"
    " missing: the optimum that it needs (1.27.0) cannot be imported with torch 2.13.0"
    " (`cannot import name '_attention_scale'`). The tuned loop takes 256 texts at a time,"
    " tokenises them together, computes batches of similar lengths of 256 padded tokens, two at a"
    " time, and reads on meanwhile; int8: weights by channel, activations when they are known."
    f" Engines count if {_EQUAL:.1%} of their labels are ours.\n\n"
)

Answers = Mapping[str, Mapping[str, Any]]
_FULL, _CAREFUL = OURS


@dataclass(slots=True)
class Runs:
    """The measurements of one contender by round, on the mix and on the short texts."""

    mix: list[Measured] = field(default_factory=list)
    short: list[Measured] = field(default_factory=list)

    @property
    def mix_rate(self) -> float:
        """Median, texts/s."""
        return statistics.median(run.texts_per_s for run in self.mix)

    @property
    def short_rate(self) -> float:
        """Median, texts/s."""
        return statistics.median(run.texts_per_s for run in self.short)

    @property
    def typical(self) -> Measured:
        """The run of the mix with the median rate."""
        return sorted(self.mix, key=lambda run: run.texts_per_s)[len(self.mix) // 2]

    @property
    def peak_mib(self) -> float:
        """Peak resident memory of all runs."""
        return max(run.peak_bytes for run in (*self.mix, *self.short)) / 2**20


def answers(run: Measured) -> Answers:
    """Return a run's outputs by the id of their record."""
    made = [json.loads(value) for value in run.values]
    return {each["id"]: each for each in made}


def agreement(left: Answers, right: Answers) -> tuple[float, float]:
    """Return the fraction of equal labels, and the largest difference of a probability.

    Our outputs have the probabilities of all labels, and all are compared; if one side has only
    that of the best label, this one is compared, if the labels are equal.
    """
    if left.keys() != right.keys():
        raise SystemExit(f"answers are missing: {len(left)} against {len(right)}")
    same, largest = 0, 0.0
    for key, one in left.items():
        other = right[key]
        is_same = one["label"] == other["label"]
        same += is_same
        if "probabilities" in one and "probabilities" in other:
            pairs = [(p, other["probabilities"][name]) for name, p in one["probabilities"].items()]
        else:
            pairs = [(one["confidence"], other["confidence"])] if is_same else []
        largest = max([largest, *(abs(a - b) for a, b in pairs)])
    return same / len(left), largest


def figures(runs: Mapping[str, Runs], careful: tuple[float, float]) -> dict[str, float]:
    """Return the target ratios and their inputs.

    Foreign engines count if nearly all of their labels are those of fp32: in float32 beside our
    float32, all of them beside ``dtype: auto``.
    """
    rates = {title: each.mix_rate for title, each in runs.items()}
    reference = answers(runs[_FULL].typical)
    found: dict[str, float] = {}
    fast: dict[str, list[Runs]] = {_FULL: [], _CAREFUL: []}
    for peer in PEERS:
        if peer.kind == "engine" and peer.title in runs:
            of_peer = runs[peer.title]
            same, _ = agreement(reference, answers(of_peer.typical))
            found[f"{peer.name}_same_labels"] = same
            if same >= _EQUAL:
                fast[_CAREFUL].append(of_peer)
                if peer.precision == "float32":
                    fast[_FULL].append(of_peer)
    for title, beginning in ((_FULL, "fp32"), (_CAREFUL, "careful")):
        if fast[title]:
            mix = max(each.mix_rate for each in fast[title])
            short = max(each.short_rate for each in fast[title])
            found[f"{beginning}_over_engines"] = rates[title] / mix
            found[f"short_{beginning}_over_engines"] = runs[title].short_rate / short
    others = [peer for peer in PEERS if peer.title in runs]
    frameworks = max(rates[peer.title] for peer in others if peer.kind == "framework")
    servers = max(rates[peer.title] for peer in others if peer.kind == "server")
    best_short = max(runs[peer.title].short_rate for peer in others if peer.kind != "engine")
    return found | {
        "fp32_over_frameworks": rates[_FULL] / frameworks,
        "fp32_over_servers": rates[_FULL] / servers,
        "careful_over_frameworks": rates[_CAREFUL] / frameworks,
        "careful_over_servers": rates[_CAREFUL] / servers,
        "short_fp32_over_best": runs[_FULL].short_rate / best_short,
        "careful_same_labels": careful[0],
        "careful_largest_difference": careful[1],
        **{f"{_key(title)}_mix_texts_per_s": rate for title, rate in rates.items()},
        **{f"{_key(title)}_short_texts_per_s": each.short_rate for title, each in runs.items()},
    }


def bars(rates: Mapping[str, float], found: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return name and texts/s of each contender for a plot; the name says if labels differ."""
    same = {peer.title: found.get(f"{peer.name}_same_labels", 1.0) for peer in PEERS}
    differ = {
        title: f"{title}, {share:.0%} of the labels"
        for title, share in same.items()
        if share < _EQUAL
    }
    return [(differ.get(title, title), rate) for title, rate in rates.items()]


def page(runs: Mapping[str, Runs], found: Mapping[str, float], *, compared: int) -> str:
    """Return the body of the page.

    Args:
        runs: by title.
        found: the figures.
        compared: texts on which the two precisions were compared.
    """
    reference = answers(runs[_FULL].typical)
    rounds, mixed, short = len(runs[_FULL].mix), len(reference), len(runs[_FULL].short[0].values)
    rows = "".join(_row(title, each, reference) for title, each in runs.items())
    pins = "\n".join(f"- {peer.title}: {', '.join(peer.pins)}" for peer in PEERS if not peer.shares)
    pins += "\n" + "\n".join(
        f"- engines in a tuned loop: {', '.join(peer.pins)}" for peer in PEERS[-1:]
    )
    return (
        f"MiniLM with a head fitted to the topics of news, {mixed} texts of the heavy-tailed mix"
        f" and {short} uniform short ones (8 to 12 words), 4 partitions, medians of {rounds}"
        " interleaved rounds. Every contender is restarted in every round and has answered 64"
        " texts before it is timed; peers compute in float32 if they do not say otherwise, in"
        " environments of their own.\n\n"
        "| | mix, texts/s | short, texts/s | mix p50 | mix p99 | peak memory | labels as ours"
        " in fp32 |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        f"{rows}\n"
        f"![texts/s on the mix](peers.svg)\n\n"
        f"{_promises(found)}\n"
        f"The careful precision, `{dict(OURS[_CAREFUL])}`, gives the labels of fp32 on"
        f" {found['careful_same_labels']:.2%} of {compared} texts of the mix; the largest"
        f" difference of a probability is {found['careful_largest_difference']:.4f}.\n\n"
        "All texts are sent at once, so latency is the time in the backlog. Times are the broker's"
        " (LogAppendTime): Quix Streams gives its outputs the time of their inputs.\n\n"
        f"{_NOTES}Versions:\n\n{pins}\n"
    )


def _row(title: str, runs: Runs, reference: Answers) -> str:
    run = runs.typical
    same, _ = agreement(reference, answers(run))
    return (
        f"| {title} | {runs.mix_rate:.1f} | {runs.short_rate:.1f} | {run.latency_ms(0.5):,.0f} ms"
        f" | {run.latency_ms(0.99):,.0f} ms | {runs.peak_mib:,.0f} MiB | {same:.1%} |\n"
    )


def _promises(found: Mapping[str, float]) -> str:
    rows: Sequence[tuple[str, str, float]] = (
        ("fp32_over_frameworks", "fp32 over the best stream framework", 4),
        ("fp32_over_servers", "fp32 over the best model server", 6),
        ("careful_over_frameworks", "careful over the best stream framework", 9),
        ("careful_over_servers", "careful over the best model server", 2.5),
        ("short_fp32_over_best", "fp32 over the best of both, short texts", 1),
        ("fp32_over_engines", "fp32 over the best engine in float32 in a tuned loop", 1),
        ("short_fp32_over_engines", "the same, short texts", 1),
        ("careful_over_engines", "careful over the best engine in a tuned loop", 1),
        ("short_careful_over_engines", "the same, short texts", 1),
    )
    table = "".join(
        f"| {text} | {found[key]:.2f} | {target:g} | {'yes' if found[key] >= target else 'no'} |\n"
        for key, text, target in rows
        if key in found
    )
    return f"| | measured | at least | reached |\n| --- | ---: | ---: | --- |\n{table}"


def _key(title: str) -> str:
    """The contender's part of a figure's name."""
    return next((peer.name for peer in PEERS if peer.title == title), title.replace(" ", "_"))
