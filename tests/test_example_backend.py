"""The example distribution: built, installed next to the project, and run from its wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from testing.kafka_broker import Cluster, wait_until

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "keyword_backend"
PAGE = (ROOT / "docs" / "own-backend.md").read_text(encoding="utf-8")
MODEL = {"backend": "keyword", "keywords": {"praise": ["good"], "complaint": ["bad"]}}

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path, site: Path | None = None) -> str:
    """Run a command to its end; ``site`` is where the example is installed."""
    done = _start(*command, cwd=cwd, site=site)
    output, _ = done.communicate(timeout=240)
    assert done.returncode == 0, output
    return output


def _start(*command: str | Path, cwd: Path, site: Path | None) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if site is not None:
        environ["PYTHONPATH"] = str(site)
    return subprocess.Popen(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, installed by pip from its wheel."""
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("site")
    shutil.copytree(
        EXAMPLE, tree / "example", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tree / "dist")
    run(*build, cwd=tree / "example")
    (wheel,) = (tree / "dist").glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--target", folder, wheel, cwd=tree)
    return folder


def _program(*arguments: str | Path) -> tuple[str | Path, ...]:
    return (sys.executable, "-m", "streamlabel", *arguments)


def _config(folder: Path, **sections: dict[str, object]) -> Path:
    file = folder / "streamlabel.yaml"
    file.write_text(yaml.safe_dump({"model": MODEL, "http": {"enabled": False}, **sections}))
    return file


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "src/streamlabel_keyword/backend.py",
        "src/streamlabel_keyword/logfmt.py",
        "tests/test_keyword.py",
    ],
)
def test_the_page_shows_the_example_as_it_is(name: str) -> None:
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE, flags=re.DOTALL)
    assert (EXAMPLE / name).read_text(encoding="utf-8") in shown


def test_its_own_tests_pass_where_it_is_installed(site: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    output = run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path, site=site
    )
    assert " passed" in output


def test_it_classifies_a_file_and_appears_in_settings_and_schema(
    site: Path, tmp_path: Path
) -> None:
    file = _config(tmp_path, input={"format": "logfmt", "decoder": {"text_key": "t"}})
    (tmp_path / "in.jsonl").write_text('t="good and fine" id=7\nt=bad\nno pair\n')
    run(
        *_program("classify", "-c", file, "-f", "in.jsonl", "-o", "out.jsonl"),
        cwd=tmp_path, site=site,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row.get("label") for row in rows] == ["praise", "complaint", None]
    assert (rows[0]["id"], rows[0]["model"]["backend"]) == ("7", "keyword")
    assert rows[2]["reason"] == "schema"
    schema = json.loads(run(*_program("config", "schema"), cwd=tmp_path, site=site))
    assert "keyword" in schema["properties"]["model"]["discriminator"]["mapping"]
    assert "logfmt" in json.dumps(schema["$defs"]["InputSettings"]["properties"]["format"])
    shown = run(*_program("config", "show", "-c", file), cwd=tmp_path, site=site)
    assert "input.decoder.text_key" in shown


def test_it_is_calibrated(site: Path, tmp_path: Path) -> None:
    file = _config(tmp_path)
    texts = [("good " * n, "praise") for n in range(1, 40)] + [
        ("bad " * n, "complaint") for n in range(1, 40)
    ]
    (tmp_path / "data.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts)
    )
    run(
        *_program("calibrate", "-c", file, "--data", "data.jsonl", "-o", "c.yaml"),
        cwd=tmp_path, site=site,
    )  # fmt: skip
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["model"]["backend"] == "keyword"


@pytest.mark.kafka
def test_the_service_runs_it_on_kafka(site: Path, tmp_path: Path, kafka: Cluster) -> None:
    texts, labels, review, dead = (
        kafka.topic(name) for name in ("texts", "labels", "review", "dead")
    )
    file = _config(
        tmp_path,
        kafka={"bootstrap_servers": kafka.bootstrap, "group_id": texts},
        input={"topic": texts, "format": "logfmt"},
        output={"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
        routing={"threshold": 0.6},
    )
    checked = run(*_program("check", "-c", file), cwd=tmp_path, site=site)
    assert "keyword (keyword) on cpu" in checked
    kafka.produce(texts, [b'msg="good" id=a', b"msg=bad id=b", b"msg=neither id=c", b"no pair"])
    service = _start(*_program("run", "-c", file), cwd=tmp_path, site=site)
    try:
        wait_until(lambda: kafka.committed(texts, texts) == 4, what="4 is committed", timeout_s=120)
        service.terminate()
        output, _ = service.communicate(timeout=60)
    finally:
        service.kill()
        service.wait()
    assert service.returncode == 0, output
    found = {message["id"]: message["label"] for message in _values(kafka, labels)}
    assert found == {"a": "praise", "b": "complaint"}
    (unsure,) = _values(kafka, review)
    assert (unsure["id"], unsure["text"], unsure["reasons"]) == ("c", "neither", ["low_confidence"])
    (letter,) = kafka.read(dead)
    assert letter.value() == b"no pair"


def _values(kafka: Cluster, topic: str) -> list[dict[str, object]]:
    return [json.loads(message.value() or b"{}") for message in kafka.read(topic)]
