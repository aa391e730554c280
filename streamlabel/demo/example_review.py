"""The second half of the example ``review-queue``: people decide, and the service learns.

The steps are those of a team: the commands ``calibrate`` and ``learn`` with the example's file, and
the console's database between them. The person is scripted and decides as the samples expect.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from streamlabel.config.console import ConsoleSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.output.verdict import read_verdict
from streamlabel.demo.console import running_store
from streamlabel.demo.example_outputs import Answers
from streamlabel.demo.stream import read_verdicts
from streamlabel.errors import StreamlabelError
from streamlabel.extras import require
from streamlabel.models.core.system_clock import SystemClock

__all__ = ["calibrate", "learn_from_people"]

_CLOCK: Final = SystemClock()
_PATIENCE_S: Final = 600.0
_AGAIN_S: Final = 0.1
_LOOK_MS: Final = 2000  # what the verdicts say about the time that a decision took
_REVIEWER: Final = "a person"


class StepError(StreamlabelError):
    """A step of the example failed."""


async def calibrate(settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
    """Write the first calibration, from labelled texts that are at hand before there is traffic.

    They are those that the model was trained on, so it is too sure of itself: what verdicts are
    for. A team without other texts is in the same place.

    Raises:
        StepError: the command failed.
    """
    require("the example review-queue", extra="console")
    require("the example review-queue", extra="evaluate")
    say("Calibrating on what is labelled so far: the training texts, on which it looks too good")
    with as_file(files("streamlabel.demo") / "samples" / "train.jsonl") as data:
        await _command(settings, "calibrate", "--data", str(data), "--out", str(_first(folder)))


async def learn_from_people(
    settings: Settings,
    folder: Path,
    answers: Answers,
    partitions: Mapping[str, int],
    say: Callable[[str], None],
    *,
    target_error: float,
) -> list[str]:
    """Decide all reviews, wait for the verdicts on their topic, and learn from them.

    Returns:
        What is wrong; empty: every review has a verdict, and ``learn`` has written a calibration.

    Raises:
        StepError: a command failed, or verdicts are missing.
    """
    _forget(folder)
    own = ConsoleSettings(
        database=str(folder / "console.db"), undo_s=0, second_look_share=0, gold_share=0
    )
    chosen = settings.model_copy(update={"console": own})
    reviews = sum(each.route in {"review", "audit"} for each in answers.found)
    seen: set[str] = set()
    verdicts: list[bytes] = []

    def see(value: bytes) -> None:
        seen.add(read_verdict(value).id)
        verdicts.append(value + b"\n")

    reading = asyncio.ensure_future(
        read_verdicts(
            chosen,
            see,
            partitions=partitions[chosen.output.verdicts_topic],
        )
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await _decide(chosen, answers, reviews, seen)
    except TimeoutError as error:
        raise StepError(f"{len(seen)} of {reviews} verdicts after {_PATIENCE_S:g} s") from error
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    say(f"{len(seen)} reviews were decided; their verdicts are on {chosen.output.verdicts_topic}")
    # From a file: the embedded broker's markers of transactions have wrong checksums, which only
    # the reader of the demo accepts.
    file = folder / "verdicts.jsonl"
    file.write_bytes(b"".join(verdicts))
    out = folder / "learned.yaml"
    wanted = ("--target-error", str(target_error))
    say(await _command(settings, "learn", "--verdicts", str(file), *wanted, "--out", str(out)))
    return [] if out.is_file() else [f"learn wrote no {out}"]


async def _decide(settings: Settings, answers: Answers, reviews: int, seen: set[str]) -> None:
    """Decide each review as its sample expects, until all verdicts are on the topic."""
    from streamlabel.console.store.items import Decision  # noqa: PLC0415 the console extra
    from streamlabel.console.topics.loops import now_of  # noqa: PLC0415 the console extra

    by_text = {post.text: post.expected[""] for post in answers.posts.values()}
    async with running_store(settings) as store:
        while len(seen) < reviews:
            found = await store.next_item(reviewer=_REVIEWER, tasks=None, now=now_of(_CLOCK))
            if found is None:
                await asyncio.sleep(_AGAIN_S)
                continue
            item, lease = found
            label = by_text[item.text or ""]
            is_right = item.model_labels == (label,)
            decision = Decision(
                "confirm" if is_right else "correct", (label,), duration_ms=_LOOK_MS
            )
            await store.decide(lease, decision, now=now_of(_CLOCK))


def _forget(folder: Path) -> None:
    for path in folder.glob("console.db*"):  # of an earlier run
        path.unlink()


def _first(folder: Path) -> Path:
    return folder / "calibration.yaml"


async def _command(settings: Settings, name: str, *arguments: str) -> str:
    """Run a command with the example's settings; return what it prints."""
    file = Path(arguments[-1]).with_name("settings.json")
    file.write_text(_as_file(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamlabel", name, "-c", str(file), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    output, _ = await process.communicate()
    said = output.decode()
    if process.returncode:
        raise StepError(f"streamlabel {name} failed:\n{said}")
    return said.rstrip()


def _as_file(settings: Settings) -> str:
    """Return the settings as a file, with the key of the audit, which they mask otherwise."""
    shown = settings.model_dump(mode="json", exclude_defaults=True)
    shown["model"]["backend"] = settings.model.backend  # a default, but what the others depend on
    key = settings.audit.key
    if key is not None:
        shown["audit"] = {"key": key.get_secret_value()}
    return json.dumps(shown)
