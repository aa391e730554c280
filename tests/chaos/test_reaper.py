"""A chaos run that is killed leaves no processes behind."""

import subprocess
import sys

from testing.chaos.reaper import Reaper


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True
    )


def test_what_is_still_watched_at_the_end_is_killed() -> None:
    watched, forgotten = sleeper(), sleeper()
    with Reaper.open() as reaper:
        for each in (watched, forgotten):
            reaper.watch(each.pid)
        reaper.forget(forgotten.pid)
    assert watched.wait(10) == -9
    assert forgotten.poll() is None
    forgotten.kill()
    forgotten.wait(10)
