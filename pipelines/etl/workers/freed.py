"""What the allocators keep of freed memory, which is a build's that is bounded."""

from __future__ import annotations

import ctypes

import pyarrow as pa


def give_back() -> None:
    """Give memory that is free back to the system: Arrow's pool, and that of the C library, which
    keeps some for each thread that there was. Other C libraries do as they always do."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
