"""What the C library and Arrow do with memory that has been freed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Of glibc's mallopt(3)."""
SMALLEST_MAPPED = (2**28, 2**25)
"""Bytes from which on a block is the system's: it is given back at once when it is freed. The
second where the first is refused, as by glibc before 2.35."""
MOST_KEPT = 2**29
"""Bytes that are kept free for the next step."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Freed memory is used again within the block, and given back at its end.

    glibc would hand large blocks back after each operation, and the system clears every page that
    it lends: up to a third of a step's time where scores of a whole catalogue are computed. Another
    C library does as it always does. The thresholds stay as they are set: glibc tells nobody what
    they were.
    """
    choose = _of_c("mallopt")
    if choose is None:
        yield
        return
    any(choose(MMAP_THRESHOLD, size) for size in SMALLEST_MAPPED)
    choose(TRIM_THRESHOLD, MOST_KEPT)
    try:
        yield
    finally:
        _trim()


def one_arena() -> None:
    """Of this process, for good: the C library gives threads that take memory for the first time
    what they need from where the others have it. What each keeps for itself grows with the tasks
    that are done."""
    choose = _of_c("mallopt")
    if choose is not None:
        choose(ARENA_MAX, 1)


def give_back() -> None:
    """Give memory that is free back to the system: Arrow's pool, and that of the C library, which
    keeps some for each thread that there was."""
    pa.default_memory_pool().release_unused()
    _trim()


def _trim() -> None:
    trim = _of_c("malloc_trim")
    if trim is not None:
        trim(0)


def _of_c(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it has it."""
    return getattr(ctypes.CDLL(None), name, None)
