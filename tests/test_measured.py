"""Figures in README and docs/performance.md are those of the result files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def figures(name: str) -> dict[str, Any]:
    stored = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    found = stored["figures"]
    assert isinstance(found, dict)
    return found


def text_of(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


RESULTS = sorted(path.name for path in (ROOT / "benchmarks" / "results").glob("*.[jm]*"))


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_names_no_path_of_the_machine_that_measured_it(name: str) -> None:
    """A path from the root, unless it is a part of a URL."""
    text = (ROOT / "benchmarks" / "results" / name).read_text()
    assert re.findall(r"(?<![\w./:])/\w[\w.-]*/[\w./-]+", text) == []


# How the page calls parts of the long form of the chaos table.
_SAID = {
    "broker_losses": "losses of one of three brokers",
    "fuzzed_values": "fuzzed values",
    "upgrades": "rolling upgrades",
    "certificate_rotations": "rotations of certificates",
    "soak_minutes": "minutes",
}


def performance() -> str:
    return text_of("docs/performance.md")


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_three_figures_of_the_readme_are_measured(page: str) -> None:
    chaos, peers = figures("chaos"), figures("peers")
    rows = json.loads((ROOT / "benchmarks" / "results" / "chaos.json").read_text())["rows"]
    assert chaos["lost"] == chaos["exactly_once_doubled"] == 0
    readme = text_of(page)
    assert f"{chaos['records']:,}" in readme
    assert re.search(rf"\b{len({row['fault'] for row in rows})}\b ", readme)
    for name in ("careful_over_frameworks", "fp32_over_frameworks"):
        assert re.search(rf"\b{peers[name]:.1f} ", readme)
    assert f"{100 * figures('procedures')['broken']:.1f} %" in readme


def test_the_page_quotes_the_chaos_table() -> None:
    chaos = figures("chaos")
    assert chaos["rows_failed"] == 0
    assert (
        f"{chaos['records']:,} records, {chaos['lost']} lost,"
        f" {chaos['exactly_once_doubled']} duplicated with exactly once,"
        f" {chaos['out_of_order']} out of order"
    ) in performance()


def test_the_page_quotes_the_hours_of_faults() -> None:
    hours = figures("chaos_long")
    assert hours["parts_complete"] == hours["parts"]
    assert hours["memory_growth"] <= 0.02
    page = " ".join(performance().split())
    counted = ("kills", "zombies", "rebalances", "broker_losses", "fuzzed_values", "upgrades")
    for name in (*counted, "certificate_rotations", "soak_minutes"):
        assert f" {hours[name]:,.0f} {_SAID.get(name, name)}" in page
    for name, said in (
        ("lost", "lost"),
        ("exactly_once_doubled", "duplicated with exactly once"),
        ("out_of_order", "out of order"),
    ):
        assert hours[name] == 0
        assert f" 0 {said}" in page
    assert f"grew by {hours['memory_growth']:+.1%} at most" in page
    assert f"killed {hours['only_broker_losses']:.0f} times" in page
    assert f"doubled {hours['only_broker_doubled']:.0f} outputs" in page
    assert f"slices: {hours['slices_failed']:.0f} of {hours['slices']:.0f}" in page


def test_every_row_of_the_chaos_table_is_on_the_page() -> None:
    stored = json.loads((ROOT / "benchmarks" / "results" / "chaos.json").read_text())
    for row in stored["rows"]:
        assert f"| {row['fault']} |" in performance()
        assert f" {row['lost']}, {row['doubled']} |" in performance()


def test_the_page_quotes_what_delivery_and_the_service_cost() -> None:
    delivery, throughput = figures("delivery"), figures("throughput")
    assert f"({delivery['alo_over_bare']:.2f} times)" in performance()
    assert f"({delivery['eos_over_alo']:.2f} times at least once)" in performance()
    assert f"records: {delivery['memory_growth']:+.1%}" in performance()
    assert f"{throughput['service_over_engine']:.3f} of the engine alone" in performance()
    assert f"{throughput['service_over_naive']:.1f} times a plain aiokafka loop" in performance()


def test_the_page_quotes_the_peers_and_the_limit() -> None:
    peers, roofline = figures("peers"), figures("roofline")
    others = ("faststream_batch", "quix_apply", "confluent_loop", "infinity_served")
    engines = ("onnxruntime_float32", "openvino_float32", "onnxruntime_int8", "openvino_bfloat16")
    for name in (*others, *engines):
        mix, short = peers[f"{name}_mix_texts_per_s"], peers[f"{name}_short_texts_per_s"]
        assert f"| {mix:.0f} | {short:.0f} |" in performance()
    assert (
        f"{peers['fp32_over_frameworks']:.1f} times the best framework and"
        f" {peers['fp32_over_servers']:.1f} times the model server"
    ) in performance()
    assert f"label as fp32 on {peers['careful_same_labels']:.2%}" in performance()
    assert f"{roofline['float32_16_share']:.0%} at 16 tokens" in performance()


def test_the_page_quotes_latency_and_scale() -> None:
    latency, scale = figures("latency"), figures("scale")
    for load in ("10", "50", "80", "95"):
        p50, p99 = latency[f"p50_ms_at_{load}"], latency[f"p99_ms_at_{load}"]
        assert f"| {load}% | {p50:.0f} ms | {p99:.0f} ms |" in performance()
    assert (
        f"at 80% it is {latency['p99_at_80_over_batch']:.2f} times the time of one full batch"
        in performance()
    )
    assert f"first label: {latency['start_to_first_label_s']:.1f} s" in performance()
    assert f"32 processes {scale['scale_efficiency_32']:.0%} of 32 times" in performance()


def test_the_page_quotes_the_quality_of_what_is_trained() -> None:
    quality = figures("quality")
    assert f"accuracy {quality['sms_spam_accuracy']:.3f} on text messages" in performance()
    assert f"exceeded in at most {quality['worst_broken_promise_share']:.1%}" in performance()


def test_the_page_on_performance_quotes_every_target() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    forms = {
        "peers": {
            "fp32_over_frameworks": ".2f",
            "fp32_over_servers": ".2f",
            "careful_over_frameworks": ".2f",
            "careful_over_servers": ".2f",
            "short_fp32_over_best": ".2f",
            "careful_same_labels": ".2%",
            "careful_largest_difference": ".4f",
            "fp32_over_engines": ".2f",
            "short_fp32_over_engines": ".2f",
            "careful_over_engines": ".2f",
            "short_careful_over_engines": ".2f",
        },
        "roofline": {
            "useful_share": ".2f",
            "worst_useful_share": ".2f",
            "deberta_useful_share": ".2f",
            "bfloat16_useful_share": ".2f",
        },
        "architectures": {
            "worst_family_over_bert": ".2f",
            "modernbert_over_bert": ".2f",
            "deberta_over_bert": ".2f",
            "worst_over_openvino": ".2f",
            "worst_over_onnxruntime": ".2f",
        },
        "throughput": {
            "service_over_engine": ".3f",
            "loop_longest_ms": ".1f",
            "device_waits_share": ".1%",
        },
        "latency": {
            "p99_at_10_over_single": ".2f",
            "p99_at_80_over_batch": ".2f",
            "p99_at_80_over_ideal": ".2f",
            "naive_p99_over_ours": ".2f",
            "burst_over_capacity": ".2f",
            "start_to_first_label_s": ".2f",
        },
        "peers_latency": {"best_peer_p99_over_ours": ".2f"},
        "delivery": {"alo_over_bare": ".2f", "memory_growth": "+.1%"},
        "expert": {"alo_over_expert": ".2f", "eos_over_expert": ".2f"},
        "scale": {"null_two_over_one": ".2f", "scale_efficiency_32": ".2f"},
        "versions": {
            "at_least_once_after_over_before": ".3f",
            "exactly_once_after_over_before": ".3f",
        },
        "record_cost": {
            "at_least_once_bytecodes_over_before": ".2f",
            "exactly_once_bytecodes_over_before": ".2f",
            "with_repeats_bytecodes_over_before": ".2f",
        },
        "plans": {
            "swaps_lost": ".0f",
            "swaps_doubled": ".0f",
            "swaps_mixed_batches": ".0f",
            "swap_pause_over_batch": ".2f",
            "swap_memory_growth": "+.1%",
            "repeats_speedup": ".2f",
            "cascade_broken_promises": ".1%",
            "cascade_cost_over_oracle": ".2f",
            "cascade_accuracy_gap": ".4f",
            "cascade_escalated": ".1%",
            "two_tasks_over_two_services": ".2f",
            "shadow_cost": ".1%",
        },
        "operate": {
            "alerts_tested": ".0f",
            "alerts_untested": ".0f",
            "chart_errors": ".0f",
            "broken_parents": ".0f",
            "capacity_error": ".1%",
            "tracing_off": ".3f",
            "tracing_sampled": ".3f",
        },
        "review": {
            "next_item_p95_ms_sqlite": ".0f",
            "next_item_p95_ms_postgresql": ".0f",
            "verdict_to_topic_p99_s": ".2f",
            "decisions_per_minute": ".0f",
            "axe_serious": ".0f",
            "hostile_executed": ".0f",
            "lost": ".0f",
            "decided_twice": ".0f",
            "stuck_leases": ".0f",
        },
        "learning": {
            "monitor_false_alarms": ".1%",
            "median_audits_to_alarm": ",.0f",
            "refit_ece_over_full_labels": ".2f",
            "broken_promises": ".1%",
            "review_after_over_before": ".2f",
            "prediction_set_shortfall": ".4f",
            "missed_label_broken": ".1%",
            "promise_coverage_1250_mean": ".2f",
            "promise_coverage_1250_p10": ".2f",
            "promise_coverage_5000_mean": ".2f",
            "promise_coverage_5000_p10": ".2f",
        },
        "alerts": {"alerts_fired": ".0f", "alerts_resolved": ".0f"},
        "formats": {
            "outage_dead_letters": ".0f",
            "mutated_without_outcome": ".0f",
            "serialised_differently": ".0f",
            "avro_over_json": ".2f",
            "protobuf_over_json": ".2f",
            "ray_over_classify": ".2f",
        },
        "llm": {
            "parity_max_difference": ".1e",
            "presets_byte_equal": ".0f",
            "smollm2_sms_accuracy": ".4f",
            "train_memory_gib": ".1f",
            "train_minutes_per_1000": ".1f",
            "smollm2_tweets_macro_f1": ".3f",
            "tweets_train_minutes": ".1f",
            "policies_cost_8": ".2f",
            "service_over_engine": ".3f",
            "npu_max_difference": ".1e",
            "npu_max_difference_as_served": ".1e",
        },
    }
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for name, wanted in forms.items():
        of_it = [row for row in rows if f"(`{name}`)" in row]
        assert len(of_it) == len(wanted)
        for row, (figure, form) in zip(of_it, wanted.items(), strict=True):
            assert f" {format(figures(name)[figure], form)} |" in row
