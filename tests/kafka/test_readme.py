"""The commands of README and getting-started run, in their order, with what they set up before."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import tomllib
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamlabel.config.loading import load
from testing.kafka_broker import Cluster, wait_until
from tests.models.tiny import build_model

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/getting-started.md"]
# Commands that are not run here, and what shows that they work instead.
ELSEWHERE = {
    "make": "sets up an environment; CI does it in every job",
    "docker": "needs Docker; tests/unit/test_docker.py reads the files",
    "TORCH_INDEX=URL": "the same",
    "pip": "needs the network; what it names is checked below",
}
# Commands that go on until somebody ends them.
ENDLESS = ("streamlabel run", "streamlabel tail")


def commands(page: str) -> list[str]:
    """Return what a reader would type, line by line."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), "only commands stand in such a block"
    return [line[2:].partition("   #")[0].strip() for line in lines]


class Terminal:
    """A reader's terminals, in a folder like a clone after ``make demo``."""

    def __init__(self, folder: Path, kafka: Cluster, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.port = free_port()
        for name in ("docs", "docker"):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv" / "bin").mkdir(parents=True)
        program = shutil.which("streamlabel")
        assert program, "put .venv/bin on the path"
        (folder / ".venv" / "bin" / "streamlabel").symlink_to(program)
        activate = 'export PATH="$PWD/.venv/bin:$PATH"\n'
        (folder / ".venv" / "bin" / "activate").write_text(activate)
        build_model(folder / ".demo" / "model")
        # only where the broker and the topics are: the rest is what the page makes
        name = uuid.uuid4().hex[:8]
        self.environ = os.environ | {
            "STREAMLABEL__KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "STREAMLABEL__KAFKA__GROUP_ID": f"readme-{name}",
            "STREAMLABEL__INPUT__TOPIC": f"texts-{name}",
            "STREAMLABEL__OUTPUT__LABELS_TOPIC": f"labels-{name}",
            "STREAMLABEL__OUTPUT__REVIEW_TOPIC": f"review-{name}",
            "STREAMLABEL__OUTPUT__DEAD_LETTER_TOPIC": f"dead-{name}",
            # every text comes out on both topics: there is something to see
            "STREAMLABEL__ROUTING__AUDIT_SHARE": "1",
            "STREAMLABEL__ROUTING__REVIEW": "copy",
            "STREAMLABEL__HTTP__PORT": str(self.port),
        }

    def run(self, command: str) -> None:
        """Run one command as a shell does."""
        begun = command.removeprefix(".venv/bin/")
        if begun.startswith(ENDLESS):
            self._start(command, is_service=begun.startswith("streamlabel run"))
            return
        activate = ". .venv/bin/activate; " if (self.folder / "activated").exists() else ""
        done = subprocess.run(
            ["bash", "-ec", activate + command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])

    def _start(self, command: str, *, is_service: bool) -> None:
        path = self.folder / f"{time.monotonic_ns()}.log"
        with path.open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(gone, process)
        said = path.read_text

        def end() -> None:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == (0 if is_service else 130), said()

        if is_service:
            self._stack.callback(end)
            wait_until(lambda: is_ready(self.port) or process.poll() is not None, what="ready")
            assert process.poll() is None, said()
            return
        # a header, and at least one record
        wait_until(lambda: len(said().splitlines()) > 1, what=f"{command} shows a record")
        end()


def gone(process: "subprocess.Popen[bytes]") -> None:
    """Leave no process behind, whatever failed."""
    process.kill()
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def terminal(tmp_path: Path, kafka: Cluster) -> Iterator[Terminal]:
    with ExitStack() as stack:
        yield Terminal(tmp_path, kafka, stack)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, terminal: Terminal) -> None:
    ran = []
    for command in commands(page):
        if command == ". .venv/bin/activate":
            (terminal.folder / "activated").touch()
        if command.split()[0] not in ELSEWHERE:
            terminal.run(command)
            ran.append(command.removeprefix(".venv/bin/").split()[:2])
    for subcommand in ("init", "classify", "check", "run", "produce", "tail"):
        assert ["streamlabel", subcommand] in ran


@pytest.mark.parametrize("page", PAGES)
def test_what_is_installed_and_made_exists(page: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for command in commands(page):
        program, *arguments = command.split()
        if program == "make":
            assert set(arguments) <= set(targets)
        if program == "pip":
            extra = re.search(r"\[([\w,-]+)\]", command)
            assert extra
            assert set(extra[1].split(",")) <= set(extras["optional-dependencies"])


def test_the_configuration_in_the_readme_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / ".demo" / "model").mkdir(parents=True)
    (tmp_path / "streamlabel.yaml").write_text(block)
    loaded = load(tmp_path / "streamlabel.yaml", overrides={}, environ={})
    assert loaded.settings.model.backend == "encoder"
