"""The demo as a user runs it: it balances, and the encoder is good on what it has not seen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamlabel.demo.example_files import NAMES
from streamlabel.demo.samples import stream_samples
from streamlabel.demo.screen import shown

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
# The fitted encoder in it is reused by the next run of the tests, and by `make demo`.
FOLDER = ROOT / ".demo"


def demo(*options: str) -> str:
    """Run the demo in its default folder, and return what it prints."""
    finished = subprocess.run(
        [sys.executable, "-m", "streamlabel", "demo", *options],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def output() -> str:
    return demo()


@pytest.mark.timeout(960)  # the first run fits the encoder
def test_what_is_read_comes_out_once_as_label_review_or_dead_letter(output: str) -> None:
    found = re.search(r"read (\d+) = labels (\d+) \+ review (\d+) \+ dead letters (\d+)", output)
    assert found
    read, labels, review, dead = map(int, found.groups())
    assert read == labels + review + dead == len(stream_samples())
    assert dead == sum(s.kind == "broken" and s.expect != "classified" for s in stream_samples())
    assert review > 0


@pytest.mark.timeout(960)
def test_the_encoder_is_right_on_at_least_85_percent_of_what_it_has_not_seen(output: str) -> None:
    found = re.search(r"accuracy (\d\.\d+) on (\d+) labelled texts", output)
    assert found
    assert float(found[1]) >= 0.85
    assert int(found[2]) >= 240


@pytest.mark.timeout(960)
def test_dead_letters_are_shown_with_their_reasons(output: str) -> None:
    table = output[output.index("Dead letters") :]
    for sample in stream_samples():
        if sample.kind == "broken" and sample.expect != "classified":
            assert re.search(rf"{sample.note[:17]}.*{sample.expect}", table), sample.id


@pytest.mark.timeout(960)
def test_it_says_what_the_embedded_broker_is_for(output: str) -> None:
    assert "for trying out" in output.replace("\n", " ")


@pytest.mark.timeout(960)
def test_the_log_holds_no_text_of_a_record(output: str) -> None:
    assert output
    log = (FOLDER / "service.log").read_text()
    assert "service_stopped" in log
    for sample in stream_samples():
        if len(sample.text) > 20:
            assert sample.text[:200] not in log


@pytest.mark.timeout(960)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_on_the_embedded_broker_as_its_page_says(name: str) -> None:
    """With its real encoder; ``tests/kafka/test_examples.py`` counts records on a real Kafka."""
    found = re.search(
        r"(\d+) of (\d+) labels are those that people expect", demo("--example", name)
    )
    assert found
    right, labels = map(int, found.groups())
    assert labels
    assert right >= 0.85 * labels


def test_a_terminal_is_not_given_control_characters() -> None:
    assert shown("a\x1b[31mb\x00\u202ec\ud83d") == "a\\x1b[31mb\\x00\\u202ec\\ud83d"
    assert len(shown("word " * 1000)) <= 64
