"""Batches that are made while another is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AHEAD = 2

T = TypeVar("T")


def made_ahead(make: Callable[[int], T], start: int, stop: int) -> Iterator[T]:
    """`make(start)`, ... `make(stop - 1)` in this order, each begun by a thread while the `AHEAD`
    before it are used."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting = [pool.submit(make, place) for place in range(start, min(start + AHEAD, stop))]
        following = start + AHEAD
        while waiting:
            if following < stop:
                waiting.append(pool.submit(make, following))
                following += 1
            yield waiting.pop(0).result()
