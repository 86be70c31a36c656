"""Scores of whole catalogues, one query at a time, and the look-up in a table of vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

ITEMS_AT_ONCE = 2**14
"""Items that one query is scored against at a time."""


def rows_of(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Rows `ids` of any shape [...] of `table` [n, d] -> [..., d], as
    `torch.nn.functional.embedding`.

    On a CPU its gradient takes a third of the time: `index_add_` goes through the ids once.
    """
    return table.index_select(0, ids.flatten()).view(*ids.shape, table.shape[1])


def catalogue_scores(
    score: Callable[[int, slice], torch.Tensor],
    *,
    n_queries: int,
    n_known: int,
    n_items: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """float32[n_queries, n_items] from `score(query, items)`, the float32 scores of one query for a
    slice of items.

    Items from `n_known` on are -inf. One query at a time, the same slices for each and one thread
    for each, so that every computation has a fixed shape and order, and a query's scores are the
    same to the bit whatever is asked beside it. As many queries as torch has threads are scored
    side by side (`score` must allow for that): two threads that share the small products of one
    query wait for each other most of the time.
    """
    scores = torch.full((n_queries, n_items), -torch.inf, device=device)
    blocks = [
        slice(start, min(start + ITEMS_AT_ONCE, n_known))
        for start in range(0, n_known, ITEMS_AT_ONCE)
    ]
    queries = iter(range(n_queries))

    def work(_: int) -> None:
        with torch.inference_mode():
            for query in queries:  # one iterator for all threads: each query goes to one of them
                for items in blocks:
                    scores[query, items] = score(query, items)

    workers = max(1, min(torch.get_num_threads(), n_queries)) if device.type == "cpu" else 1
    with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return scores.cpu().numpy()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """One thread for each computation of torch in this thread, and in threads that begin inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
