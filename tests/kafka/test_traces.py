"""A text's trace stays one chain over two services on a real Kafka."""

from dataclasses import replace
from pathlib import Path

import pytest

from testing.kafka_broker import Cluster
from testing.three_hops import broken_parents, collecting, three_hops


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_each_text_is_one_trace_from_its_producer_over_two_services(
    kafka: Cluster, tmp_path: Path
) -> None:
    with collecting() as collector:
        sent, last = three_hops(kafka, collector, texts=200, folder=tmp_path)
    assert broken_parents(collector.spans, sent, last) == []
    batches = [span for span in collector.spans if span.parent == 0]
    assert {span.name for span in batches} >= {f"process {name}" for name in _inputs(tmp_path)}
    assert not any("zanzibar" in span.content for span in collector.spans)
    # the check itself: a span that names another parent, and one that is missing, are found
    broken = [replace(span, parent=7) if span.trace == 5 else span for span in collector.spans]
    assert len(broken_parents(broken, sent, last)) == 1
    lost = [span for span in collector.spans if span.trace != 9]
    assert len(broken_parents(lost, sent, last)) == 1


def _inputs(folder: Path) -> set[str]:
    text = (folder / "first.yaml").read_text() + (folder / "second.yaml").read_text()
    return {line.split(": ")[1] for line in text.splitlines() if line.startswith("  topic:")}
