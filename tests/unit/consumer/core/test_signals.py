"""Signals, with real ones: to this process where it survives, else to a child."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamlabel.consumer.core.signals import SIGNALS, DrainOnSignal

DEADLINE_S = 20


@pytest.mark.parametrize("signum", SIGNALS)
async def test_the_first_signal_asks_for_a_drain_once(signum: signal.Signals) -> None:
    asked = asyncio.Event()
    with DrainOnSignal(asked.set) as signals:
        assert signals.received is None
        os.kill(os.getpid(), signum)
        async with asyncio.timeout(DEADLINE_S):
            await asked.wait()
        assert signals.received is signum


async def test_previous_handlers_come_back() -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with DrainOnSignal(lambda: None):
        assert [signal.getsignal(signum) for signum in SIGNALS] != before
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


async def test_previous_handlers_come_back_after_an_error() -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with pytest.raises(RuntimeError, match="planned"), DrainOnSignal(lambda: None):
        raise RuntimeError("planned")
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


SERVICE = """
import asyncio, signal, sys, time
from streamlabel.consumer.core.signals import DrainOnSignal

def say(word):
    print(word, flush=True)

async def main(mode):
    asked = asyncio.Event()

    def drain():
        say("draining")
        asked.set()

    with DrainOnSignal(drain, before_leaving=lambda: say("last words")):
        say("ready")
        await asked.wait()
        if mode == "stuck":
            while True:  # blocks the loop, as a bug would
                time.sleep(0.01)
        if mode == "slow":
            await asyncio.sleep(60)
    say("drained")
    return 0

try:
    sys.exit(asyncio.run(main(sys.argv[1])))
finally:
    say("left in order")
"""


@contextmanager
def service(mode: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVICE), mode], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            expect(process, "ready")
            yield process
        finally:
            process.kill()


def expect(process: subprocess.Popen[str], word: str) -> None:
    """Read until ``word``: log lines come between, and a child that died ends the stream."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the service never said {word!r}")


def test_a_drained_service_leaves_with_0() -> None:
    with service("quick") as process:
        process.send_signal(signal.SIGTERM)
        expect(process, "draining")
        expect(process, "drained")
        expect(process, "left in order")
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("mode", ["slow", "stuck"])
@pytest.mark.parametrize(("first", "second"), [(*SIGNALS,), (*reversed(SIGNALS),)])
def test_a_second_signal_leaves_at_once_even_if_the_loop_is_stuck(
    mode: str, first: signal.Signals, second: signal.Signals
) -> None:
    with service(mode) as process:
        process.send_signal(first)
        expect(process, "draining")
        process.send_signal(second)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(DEADLINE_S) == 128 + second
        assert "last words" in rest
        assert "left in order" not in rest
