"""Small judgements to ask every library about: random ones, and those where definitions part.

A case is what was recommended to a few users and what was relevant to them: `lists` (best first, no
item twice), `truth`, what they had in `train` (no item twice), the cut-off `k` and the number of
items `n_items`. Only the standard library's `random` is used, whose numbers are the same on every
machine and version.
"""

from __future__ import annotations

import random
from typing import TypedDict

N_RANDOM = 2000


class Case(TypedDict):
    """One judgement; the item ids are 0 to n_items - 1."""

    k: int
    n_items: int
    lists: list[list[int]]
    truth: list[list[int]]
    train: list[list[int]]


def random_cases(n: int = N_RANDOM, seed: int = 0) -> list[Case]:
    """Cases of 1 to 6 users, lists of 0 to 12 items and 0 to 8 relevant items; every second one has
    full lists.

    A full list has k items or more. Each case has a user with both a list and a relevant item.
    """
    rng = random.Random(seed)
    cases = [_random_case(rng, full=number % 2 == 0) for number in range(n)]
    for case in cases:
        case["train"] = [
            rng.sample(range(case["n_items"]), rng.randint(1, 9)) for _ in case["lists"]
        ]
    return cases


def _random_case(rng: random.Random, *, full: bool) -> Case:
    n_items = rng.randint(12, 30)
    k = rng.randint(1, 12)
    lists, truth = [], []
    for user in range(rng.randint(1, 6)):
        shortest = k if full or user == 0 else 0
        listed = rng.sample(range(n_items), rng.randint(shortest, 12))
        fewest = 1 if full or user == 0 else 0
        relevant = rng.sample(range(n_items), rng.randint(fewest, 8))
        if listed and relevant and rng.random() < 0.5:  # otherwise hits would be rare
            relevant = sorted({rng.choice(listed), *relevant[1:]})
        lists.append(listed)
        truth.append(relevant)
    return {"k": k, "n_items": n_items, "lists": lists, "truth": truth, "train": []}


def degenerate_cases() -> list[Case]:
    """Where definitions part: no hit, no relevant item, no list, short lists, k beyond everything,
    perfect lists."""
    ten = list(range(10))

    def case(
        lists: list[list[int]], truth: list[list[int]], *, k: int = 5, n_items: int = 12
    ) -> Case:
        train = [list(range(user, n_items)) for user in range(len(lists))] if n_items > 1 else [[0]]
        return {"k": k, "n_items": n_items, "lists": lists, "truth": truth, "train": train}

    return [
        case([ten], [[0]]),
        case([ten], [[4]]),
        case([ten], [[5]]),
        case([ten], [[11]]),
        case([ten], [ten]),
        case([ten], [[0, 1, 2, 3, 4]]),
        case([ten], [[0, 1]]),
        case([ten], [[9, 8, 7, 6, 5]]),
        case([ten], [[3, 11, 10]]),
        case([ten, ten[::-1]], [[0], [0]]),
        case([[0]], [[0]], k=1),
        case([[0]], [[1]], k=1),
        case([[0, 1, 2]], [[1]]),
        case([[0, 1, 2]], [[0, 1, 2, 3, 4, 5, 6]]),
        case([[2], ten], [[2], [3]]),
        case([[], ten], [[1], [3]]),
        case([[1, 2], []], [[1], [2]]),
        case([ten, ten], [[], [3]]),
        case([ten, ten], [[3, 4], []]),
        case([[], ten], [[], [0]]),
        case([list(range(12))], [[11, 0]], k=12),
        case([list(range(12))], [list(range(11))], k=12),
        case([ten, ten, ten], [[0, 5], [1], [2, 3, 4, 5, 6, 7]], k=3),
        case([[7, 3, 1, 0, 2]] * 3, [[7], [3], [1]]),
        case([[]], [[1]]),
        case([ten], [[]]),
        case([ten], [list(range(12))], k=10),
    ]
