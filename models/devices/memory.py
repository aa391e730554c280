"""How the process treats memory that it has freed."""

import ctypes
from typing import Final

__all__ = ["keep_freed_memory"]

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
# Blocks from this size on are mapped one by one; glibc allows no more for the heaps of threads. The
# widest matrix of a pass of BERT-large has 17 MB.
_MAPPED_BYTES: Final = 32 << 20
# Free memory at the end of a heap is kept up to this size.
_KEPT_BYTES: Final = 256 << 20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next use, and give back what is free now.

    Between two operators glibc gives large blocks back to the system, which clears each page before
    it is used again: 1 to 5 % of the time of an encoder on a CPU. Call it after the model is loaded
    and before its first batch.

    Returns:
        Whether the C library can do this; only glibc can.
    """
    try:
        library = ctypes.CDLL(None)
        set_option, give_back = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: on Windows None names no library
        return False
    give_back(ctypes.c_size_t(0))
    return bool(
        set_option(_MMAP_THRESHOLD, _MAPPED_BYTES) and set_option(_TRIM_THRESHOLD, _KEPT_BYTES)
    )
