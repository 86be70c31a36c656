"""What becomes of memory that the steps of a training or a build have freed."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest

from falconer.pipelines import allocator as memory

N_BYTES = 40 * 2**20
"""More than glibc keeps by itself."""
PAGE = resource.getpagesize()


def use_once() -> None:
    """Allocate, write and free."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    place = ctypes.c_void_p(library.malloc(ctypes.c_size_t(N_BYTES)))
    library.memset(place, 1, ctypes.c_size_t(N_BYTES))
    library.free(place)


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def held() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * PAGE


def test_freed_memory_is_used_again_and_given_back_at_the_end() -> None:
    with memory.memory_kept():
        use_once()
        before = faults()
        for _ in range(5):
            use_once()
        assert faults() - before < 100
        most = held()
    assert most - held() > N_BYTES / 2


def test_a_threshold_that_is_refused_is_tried_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.35 glibc takes 32 MB at most; with the other threshold alone it would map every
    large block anew."""
    asked: list[tuple[int, int]] = []

    class Older:
        def mallopt(self, knob: int, value: int) -> bool:
            asked.append((knob, value))
            return knob != memory.MMAP_THRESHOLD or value <= 2**25

        def malloc_trim(self, pad: int) -> None:
            asked.append((0, pad))

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Older())
    with memory.memory_kept():
        pass
    assert asked == [(-3, 2**28), (-3, 2**25), (-1, memory.MOST_KEPT), (0, 0)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    with memory.memory_kept():
        pass
