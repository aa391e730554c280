"""A process that keeps what it frees has fewer pages to clear."""

import platform
import resource
import subprocess
import sys

import pytest

from streamlabel.models.devices.device import keep_freed_memory

# Blocks like those of a pass: allocated, written and freed, again and again.
SCRIPT = """
import ctypes, resource, sys
from streamlabel.models.devices.device import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    blocks = [library.malloc(ctypes.c_size_t(6 << 20)) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, 6 << 20)
    for block in blocks:
        library.free(ctypes.c_void_p(block))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_cleared_once() -> None:
    faults = {}
    for way in ("keep", "usual"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True
        )
        faults[way] = int(done.stdout)
    pages = 3 * (6 << 20) // resource.getpagesize()
    assert faults["keep"] < 2 * pages
    assert faults["usual"] > 10 * faults["keep"]


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_freed_memory()
