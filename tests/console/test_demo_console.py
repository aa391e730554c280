"""The console of the demo: its link, ten decisions by key, and the verdicts as events."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from playwright.sync_api import Browser
from rich.console import Console

from streamlabel.demo.broker import EmbeddedBroker
from streamlabel.demo.console import run_console
from streamlabel.demo.run import _settings
from tests.console.test_whole_way import a_review

ROOT = Path(__file__).parents[2]
DECISIONS = 10


def main(folder: str) -> None:
    """Run the console of a demo whose service has sent some records to review."""
    with EmbeddedBroker() as broker:
        settings = _settings(broker.bootstrap_servers, Path("not-loaded"))
        broker.create_topic(settings.output.review_topic)
        asyncio.run(_post(broker.bootstrap_servers, settings.output.review_topic))
        screen = Console(width=200)
        run_console(screen, settings, broker=broker, folder=Path(folder))


async def _post(bootstrap_servers: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    for number in range(DECISIONS):
        await producer.send_and_wait(topic, a_review(number))
    await producer.stop()


def waited(log: Path, pattern: str, *, count: int = 1) -> list[str]:
    deadline_s = time.monotonic() + 60
    while True:
        found = re.findall(pattern, log.read_text())
        if len(found) >= count or time.monotonic() > deadline_s:
            return found
        time.sleep(0.2)


@pytest.mark.timeout(180)
def test_ten_texts_are_decided_and_arrive_as_events(browser: Browser, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"from tests.console.test_demo_console import main; main({str(tmp_path)!r})"
    with (
        log.open("w") as output,
        subprocess.Popen([sys.executable, "-u", "-c", program], cwd=ROOT, stdout=output) as demo,
    ):
        try:
            [address] = waited(log, r"http://127\.0\.0\.1:\d+/enter/[\w-]+")
            page = browser.new_page()
            page.goto(address)
            for _ in range(60):
                if page.locator(".text").count():
                    break
                page.wait_for_timeout(500)
                page.reload()
            for _ in range(DECISIONS):
                page.locator(".text").wait_for()
                page.keyboard.press("1")
                page.locator("main:not([aria-busy])").wait_for(state="attached")
            verdicts = waited(log, r"verdict +\d+ +correct +ham +(r\d+)", count=DECISIONS)
            page.close()
        finally:
            demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert sorted(verdicts) == [f"r{number}" for number in range(DECISIONS)]
