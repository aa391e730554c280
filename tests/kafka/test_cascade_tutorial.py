"""The tutorial of cascades runs: its files and commands, in their order, with tiny models.

Only training is left out: ``model`` and ``fast`` say ``ok`` of every text, and so do most labels.
What takes minutes with real models takes seconds here; the options of the commands that are left
out are checked.
"""

import csv
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from streamlabel.__main__ import app
from testing.kafka_broker import Cluster, wait_until
from tests.kafka.test_readme import free_port, gone, is_ready

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(400)]

PAGE = (Path(__file__).parents[2] / "docs" / "cascade-tutorial.md").read_text()
LABELS = ("harassment", "ok", "prohibited", "scam", "spam")
TEXTS = 200


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def files() -> dict[str, str]:
    """The files of the page, by the name in their first line."""
    found = {}
    for block in blocks("yaml"):
        name = re.match(r"# ([\w.-]+)\n", block)
        assert name, "each file says its name"
        found[name[1]] = block
    return found


def build_certain(folder: Path, *, bias: float) -> None:
    """Save a tiny model that always gives the same answer."""
    import torch
    from safetensors.torch import load_file, save_file

    from tests.models.tiny import build_model

    build_model(folder, labels=LABELS)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["classifier.weight"] = torch.zeros_like(tensors["classifier.weight"])
    tensors["classifier.bias"] = torch.tensor([bias if each == "ok" else 0.0 for each in LABELS])
    save_file(tensors, path, metadata={"format": "pt"})


class Reader:
    """Does what the page says, in a folder with models and texts."""

    def __init__(self, folder: Path, kafka: Cluster, stack: ExitStack) -> None:
        self.folder = folder
        self.kafka = kafka
        self.port = free_port()
        for name, bias in (("fast", 2.0), ("model", 4.0)):
            build_certain(folder / name, bias=bias)
        self.topics = {name: kafka.topic(name) for name in ("posts", "labels", "review", "dead")}
        for name, content in files().items():
            (folder / name).write_text(self._on_our_topics(content))
        self.environ = os.environ | {"OMP_NUM_THREADS": "1", "STREAMLABEL_CONFIG": ""}
        self._stack = stack
        self.service: subprocess.Popen[bytes] | None = None
        self.log = folder / "service.log"

    def _on_our_topics(self, content: str) -> str:
        settings = yaml.safe_load(content)
        settings["kafka"] |= {
            "bootstrap_servers": self.kafka.bootstrap,
            "group_id": self.topics["posts"],
        }
        settings["input"]["topic"] = self.topics["posts"]
        outputs = ("labels", "review", "dead")
        names = ("labels_topic", "review_topic", "dead_letter_topic")
        settings["output"] = {
            name: self.topics[each] for name, each in zip(names, outputs, strict=True)
        }
        settings["http"] = {"port": self.port}
        settings["logging"] = {"format": "json"}
        return yaml.safe_dump(settings)

    def write_texts(self) -> None:
        """Write posts.csv and calibration.csv: nearly all are what the models say."""
        rows = [(f"good rain {n}", "spam" if n % 40 == 0 else "ok") for n in range(TEXTS)]
        for name in ("posts", "calibration"):
            with (self.folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("text", "label"), *rows])

    def shell(self, command: str) -> str:
        """Run a command that ends; return what it says."""
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-3000:])
        return done.stdout + done.stderr

    def begin(self, command: str) -> None:
        """Start a command that ends by itself while others run."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(gone, process)

    def start(self, command: str) -> None:
        """Start the service, and wait until it is ready."""
        with self.log.open("w") as log:
            self.service = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(gone, self.service)
        self.wait_until(lambda: is_ready(self.port), "it is ready")

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait while the service runs."""

        def ok() -> bool:
            assert self.service is not None
            assert self.service.poll() is None, self.log.read_text()[-3000:]
            return holds()

        wait_until(ok, what=what, timeout_s=120)

    def is_delivered(self) -> bool:
        """Whether the service has committed all texts."""
        done = self.kafka.committed(self.topics["posts"], self.topics["posts"])
        return done == 2 * TEXTS


@pytest.fixture
def reader(tmp_path: Path, kafka: Cluster) -> Iterator[Reader]:
    with ExitStack() as stack:
        yield Reader(tmp_path, kafka, stack)


def test_the_commands_of_the_page_run(reader: Reader) -> None:
    reader.write_texts()
    said: dict[str, str] = {}
    for command in commands():
        if command.startswith(("streamlabel train", "python cut.py", "kill -TERM")):
            continue
        if command.startswith("streamlabel run"):
            reader.start(command)
        elif command.endswith(" &"):
            reader.begin(command.removesuffix(" &").replace("--rate 10", "--rate 40"))
        elif command.startswith("kill -HUP"):
            assert reader.service is not None
            os.kill(reader.service.pid, 1)  # the command looks for it on the whole machine
            reader.wait_until(
                lambda: "deployment_active" in reader.log.read_text(), "the cascade decides"
            )
            # again: on a slow machine all have been read before the models were loaded
            reader.shell("streamlabel produce -c service.yaml --file posts.csv")
        elif command.startswith("curl"):
            reader.wait_until(reader.is_delivered, "all is delivered")
            said["metrics"] = reader.shell(command.replace(":8080/", f":{reader.port}/"))
        elif command.startswith("streamlabel tail"):
            # as many as the page has labels; here there are others
            said["tail"] = reader.shell(re.sub(r"-n \d+", "-n 100", command))
        else:
            said[command.split(" ")[1]] = reader.shell(
                command.replace("--rate 20 &", "--rate 60 &")
            )
    assert "accepted error of all stages together <= 10.0 % (95 %)" in said["calibrate"]
    assert 'streamlabel_swaps_total{outcome="swapped"} 1.0' in said["metrics"]
    outputs = [
        json.loads(message.value())
        for name in ("labels", "review")
        for message in reader.kafka.read(reader.topics[name])
    ]
    assert len({each["id"] for each in outputs}) == len(outputs) == 2 * TEXTS
    stages = Counter(each.get("stage") for each in outputs)
    assert stages[None], "the one model has decided about some"
    assert stages["fast"], "and the cascade about the others"


def test_the_commands_that_are_left_out_are_right() -> None:
    trained = [each for each in commands() if each.startswith("streamlabel train")]
    assert trained
    program: Any = typer.main.get_command(app)
    for command in trained:
        _, group, name, *options = command.split()
        made = program.commands[group].commands[name].make_context(name, options)
        assert made.params["out"]
