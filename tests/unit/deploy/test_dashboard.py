"""The Grafana board: every query parses, and names only what the service exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlabel.consumer.core.metric_names import METRICS
from testing.metric_series import problems

BOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "deploy" / "grafana" / "streamlabel.json").read_text()
)
PANELS: list[dict[str, Any]] = BOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
# What Grafana fills in, with a value of the kind that it has.
FILLED = {"$__rate_interval": "5m", "$namespace": ".*", "$job": ".*", "$price": "1"}
LABELS_OF_THE_SCRAPE = {"instance", "namespace", "job"}


def filled(query: str) -> str:
    for variable, value in FILLED.items():
        query = query.replace(variable, value)
    return query


def queries() -> Iterator[tuple[str, str, str]]:
    for panel in DRAWN:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"], target["legendFormat"]


@pytest.mark.parametrize(("query", "legend"), [each[1:] for each in queries()])
def test_every_query_parses_and_names_what_is_exported(query: str, legend: str) -> None:
    assert list(problems(filled(query))) == []
    assert "$" not in filled(query)
    for label in re.findall(r"{{(\w+)}}", legend):
        assert label in query or label in LABELS_OF_THE_SCRAPE, f"{legend} has no {label}"


def test_a_broken_name_is_found() -> None:
    name, query, _ = next(queries())
    assert list(problems(filled(query.replace("results_total", "result_total")))), name


def test_the_board_has_every_part_of_the_service() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == [
        "Now",
        "Throughput",
        "Lag",
        "Latency",
        "Confidence and labels",
        "Routes",
        "Drift",
        "Repeats and duplicates",
        "Engine",
        "Processes",
        "Cost",
    ]


def test_every_metric_is_on_the_board() -> None:
    """Of which there is no panel nobody looks at it; leave it out only with a reason."""
    drawn = " ".join(query for _, query, _ in queries())
    unused = {"in_flight_bytes": "the number of records is shown", "batches": "texts per batch"}
    missing = {name for name in METRICS if f"streamlabel_{name}" not in drawn}
    assert missing == unused.keys()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(at["x"], at["x"] + at["w"])
            for row in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_asks_the_chosen_prometheus() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in DRAWN:
        assert panel["datasource"] == chosen
        assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(
            panel["targets"]
        )
    variables = [variable["name"] for variable in BOARD["templating"]["list"]]
    assert variables == ["datasource", "namespace", "job", "price"]
