"""Foreign engines count where their labels are ours, each beside our precision that fits."""

import json

from benchmarks.kafka_to_kafka import Measured
from benchmarks.peers.contenders import OURS, PEERS
from benchmarks.peers.report import Runs, bars, figures, page

RATES = {
    "onnxruntime_float32": 150.0, "openvino_float32": 140.0, "onnxruntime_int8": 400.0,
    "openvino_bfloat16": 230.0, "infinity_served": 25.0, "quix_apply": 40.0,
}  # fmt: skip


def run(rate: float, wrong: int = 0) -> Measured:
    labels = ["b" if number < wrong else "a" for number in range(200)]
    values = [
        json.dumps({"id": str(number), "label": label, "confidence": 0.9}).encode()
        for number, label in enumerate(labels)
    ]
    return Measured(1.0, rate, [0.1] * 200, 1 << 30, values)


def runs(**wrong: int) -> dict[str, Runs]:
    found = {
        peer.title: Runs(
            [run(RATES.get(peer.name, 10.0), wrong.get(peer.name, 0))],
            [run(2 * RATES.get(peer.name, 10.0))],
        )
        for peer in PEERS
    }
    full, careful = OURS
    return found | {full: Runs([run(165)], [run(400)]), careful: Runs([run(250)], [run(500)])}


def test_an_engine_with_other_labels_does_not_count() -> None:
    found = figures(runs(onnxruntime_int8=2), (1.0, 0.0))
    assert found["onnxruntime_int8_same_labels"] == 0.99
    assert found["fp32_over_engines"] == 165 / 150
    assert found["careful_over_engines"] == 250 / 230
    assert found["short_fp32_over_engines"] == 400 / 300
    assert found["fp32_over_frameworks"] == 165 / 40
    assert found["fp32_over_servers"] == 165 / 25
    assert found["short_fp32_over_best"] == 400 / 80


def test_an_engine_with_equal_labels_counts_beside_the_fast_precision() -> None:
    found = figures(runs(onnxruntime_int8=1), (1.0, 0.0))
    assert found["careful_over_engines"] == 250 / 400
    assert found["fp32_over_engines"] == 165 / 150
    text = page(runs(), found, compared=200)
    assert "| careful over the best engine in a tuned loop | 0.62 | 1 | no |" in text
    assert text.count("openvino==") == 1


def test_the_plot_says_whose_labels_differ() -> None:
    rates = {peer.title: 10.0 for peer in PEERS} | dict.fromkeys(OURS, 20.0)
    [engine] = [peer for peer in PEERS if peer.precision == "int8"]
    names = [name for name, _ in bars(rates, {f"{engine.name}_same_labels": 0.925})]
    assert f"{engine.title}, 92% of the labels" in names
    assert set(names) - set(rates) == {f"{engine.title}, 92% of the labels"}
