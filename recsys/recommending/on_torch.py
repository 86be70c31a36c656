"""Top-k of a product of factors in torch, for a GPU; on a CPU, where it runs too, tests hold it to
the exact path.

Lists are those of `falconer.recsys.recommending.top_k` (score descending, then item id ascending)
for the scores that the device computes:
they may differ from a CPU's in the last digits, and items whose scores lie closer than that may
change places.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.errors import ConfigError, PipelineError
from falconer.recsys.lists.ranked import TopK

QUERIES_AT_ONCE = 4096
ITEMS_AT_ONCE = 2**15
"""Scores of one product: 0.5 GB in float32, and their keys 1 GB."""
NO_KEY = 2**63 - 1

_BELOW_SIGN = 0x7FFFFFFF


def refuse_absent(device: str) -> None:
    """Raise `ConfigError` where torch cannot compute on this device here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {device!r}: torch cannot use it here ({reason}); leave `device` out"
        ) from error


def top_k_of_factors(
    query_factors: NDArray[np.float32],
    item_factors: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    k: int,
    hidden: Ragged | None = None,
    device: torch.device | str = "cuda",
    first_query: int = 0,
) -> TopK:
    """The k best items of each of Q queries by query_factors[Q, d] item_factors[n_items, d]' +
    bias[n_items].

    A bias of -inf leaves an item out of every list, `hidden` (item ids, a row a query) out of one.
    The full table of scores is never made. `first_query` is the number of queries before these, for
    messages.

    Raises `PipelineError` that names the query where a score is NaN or +inf.
    """
    items, own_bias = torch.tensor(item_factors, device=device), torch.tensor(bias, device=device)
    parts = [TopK(np.empty((0, k), np.int32), np.empty((0, k), np.float32))]
    for start in range(0, len(query_factors), QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, len(query_factors))
        queries = torch.tensor(query_factors[start:stop], device=device)
        rows = None if hidden is None else hidden.slice(start, stop)
        parts.append(_lists(_best_keys(queries, items, own_bias, rows, k, first_query + start), k))
    return TopK(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _best_keys(
    queries: torch.Tensor,
    items: torch.Tensor,
    bias: torch.Tensor,
    hidden: Ragged | None,
    k: int,
    first_query: int,
) -> torch.Tensor:
    """int64[Q, k] or narrower: the keys of the best items in rising order, `NO_KEY` behind the
    last."""
    best = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    for first in range(0, len(items), ITEMS_AT_ONCE):
        scores = queries @ items[first : first + ITEMS_AT_ONCE].T
        scores += bias[first : first + ITEMS_AT_ONCE]
        _refuse_not_rankable(scores, first_query, first)
        if hidden is not None:
            _hide(scores, hidden, first)
        keys = torch.cat([best, _keys(scores, first)], dim=1)
        best = torch.topk(keys, min(k, keys.shape[1]), dim=1, largest=False, sorted=True).values
    return best


def _keys(scores: torch.Tensor, first: int) -> torch.Tensor:
    """One number a score that rises while the score falls and then with the item's id:
    `falconer.recsys.recommending.compiled` has the same.

    No two are equal, so it does not matter that `torch.topk` leaves the order of equal values open.
    """
    bits = (scores + 0.0).view(torch.int32)
    falling = ~torch.where(bits < 0, bits ^ _BELOW_SIGN, bits)
    item = torch.arange(first, first + scores.shape[1], device=scores.device)
    keys = (falling.long() << 32) | item
    return torch.where(scores > -torch.inf, keys, NO_KEY)


def _refuse_not_rankable(scores: torch.Tensor, first_query: int, first: int) -> None:
    bad = ~(scores < torch.inf)
    if bad.any():
        row, item = bad.nonzero()[0].tolist()
        raise PipelineError(
            f"query {first_query + row}: the model scores item {first + item} as "
            f"{scores[row, item].item()}; only "
            "finite scores can be ranked: train again with a smaller step or stronger "
            "regularisation"
        )


def _hide(scores: torch.Tensor, hidden: Ragged, first: int) -> None:
    item = hidden.values.astype(np.int64) - first
    here = (item >= 0) & (item < scores.shape[1])
    row = torch.as_tensor(hidden.rows[here], device=scores.device)
    scores[row, torch.as_tensor(item[here], device=scores.device)] = -torch.inf


def _lists(keys: torch.Tensor, k: int) -> TopK:
    """Lists of k places from rising keys."""
    items, scores = (
        np.full((len(keys), k), -1, np.int32),
        np.full((len(keys), k), -np.inf, np.float32),
    )
    bits = ~(keys >> 32).int()
    found = torch.where(bits < 0, bits ^ _BELOW_SIGN, bits).view(torch.float32)
    there = (keys != NO_KEY).cpu().numpy()
    width = keys.shape[1]
    items[:, :width] = np.where(there, (keys & 0xFFFFFFFF).cpu().numpy(), -1)
    scores[:, :width] = np.where(there, found.cpu().numpy(), -np.inf)
    return TopK(items, scores)
