"""Bulk: Parquet files, and the same classifier on Ray, give the records of ``classify``."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.api import load_settings
from streamlabel.errors import ConfigError
from streamlabel.ray import classify_files

FAKE = ["--set", "model.backend=fake"]
# Of two runs of the same texts.
VARYING = {"processed_at", "timings_ms"}
ROWS: list[dict[str, Any]] = [
    {"id": f"r{i}", "text": f"{i % 10 / 10} text {i}", "user": i, "price": Decimal("1.10")}
    for i in range(60)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def classify(file: Path, out: Path) -> None:
    done = CliRunner().invoke(app, ["classify", "-f", str(file), "-o", str(out), *FAKE])
    assert done.exit_code == 0, done.stderr


def records(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        lines = parquet.read_table(path).column("record").to_pylist()
    else:
        lines = path.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    for each in found:
        each["source"].pop("timestamp_ms", None)  # of the reading
    return [{k: v for k, v in each.items() if k not in VARYING} for each in found]


def test_parquet_in_and_out_is_the_same_as_json_lines(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "none", "text": None, "user": 1, "price": None}]
    file = write(tmp_path / "texts.parquet", rows)
    classify(file, tmp_path / "a.jsonl")
    classify(file, tmp_path / "b.parquet")
    found = records(tmp_path / "b.parquet")
    assert found == records(tmp_path / "a.jsonl")
    assert [each["id"] for each in found[:-1]] == [row["id"] for row in ROWS]
    assert found[3]["metadata"] == {"user": 3, "price": "1.10"}
    table = parquet.read_table(tmp_path / "b.parquet").to_pylist()
    assert [row["row"] for row in table] == list(range(1, len(rows) + 1))
    assert (table[-1]["route"], table[-1]["error_reason"]) == ("dead_letter", "empty_text")
    assert {row["label"] for row in table[:-1]} <= set(found[0]["probabilities"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"{}", "not a Parquet file"), (None, "no column 'text'")],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "texts.parquet"
    if content is None:
        write(file, [{"body": "x"}])
    else:
        file.write_bytes(content)
    out = tmp_path / "out.parquet"
    done = CliRunner().invoke(app, ["classify", "-f", str(file), "-o", str(out), *FAKE])
    assert done.exit_code in {1, 2}
    assert problem in done.stderr
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small one on this machine, which reports nothing to anybody."""
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests beside it would starve them
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.mark.timeout(240)  # several processes start
@pytest.mark.filterwarnings("ignore")  # Ray's own, about its own settings
@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_records_of_classify_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.parquet", ROWS[n * 20 : n * 20 + 20]) for n in range(3)]
    out, expected = tmp_path / "out", tmp_path / "expected"
    out.mkdir()
    expected.mkdir()
    classify(files[1], out / "1.parquet.jsonl")  # as if an earlier run had been ended here
    before = (out / "1.parquet.jsonl").read_bytes()
    (out / ".2.parquet.jsonl.99.part").write_bytes(b"unfinished")
    settings = load_settings(overrides={"model.backend": "fake"})
    found = classify_files(settings, files, out, actors=2, output="jsonl")
    assert [(Path(each.file).name, each.was_there) for each in found] == [
        ("0.parquet", False),
        ("1.parquet", True),
        ("2.parquet", False),
    ]
    assert [each.labels + each.review + each.dead_letter for each in found] == [20, 0, 20]
    for n, file in enumerate(files):
        classify(file, expected / f"{n}.jsonl")
        assert records(out / f"{file.name}.jsonl") == records(expected / f"{n}.jsonl")
    assert (out / "1.parquet.jsonl").read_bytes() == before


def test_files_of_one_name_are_refused(tmp_path: Path) -> None:
    settings = load_settings(overrides={"model.backend": "fake"})
    with pytest.raises(ConfigError, match=r"a.jsonl: 2 files have this name"):
        classify_files(settings, [tmp_path / "a.jsonl", tmp_path / "x" / "a.jsonl"], tmp_path)
    with pytest.raises(ConfigError, match="no folder for the outputs"):
        classify_files(settings, [], tmp_path / "none")
