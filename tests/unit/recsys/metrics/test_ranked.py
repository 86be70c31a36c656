"""Lists beside their relevant items, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from falconer.recsys.metrics.ranked import Ranked

ITEMS = st.integers(0, 4)
QUERIES = st.lists(
    st.tuples(st.lists(ITEMS, max_size=5, unique=True), st.sets(ITEMS, max_size=4)), max_size=4
)


@given(QUERIES)
def test_hits_are_the_relevant_items_at_their_ranks(
    queries: list[tuple[list[int], set[int]]],
) -> None:
    ranked = Ranked.of([one for one, _ in queries], [wanted for _, wanted in queries])
    width = max((len(one) for one, _ in queries), default=0)
    assert ranked.items.shape == ranked.hits.shape == (len(queries), width)
    assert ranked.n_relevant.tolist() == [len(wanted) for _, wanted in queries]
    for row, (listed, wanted) in enumerate(queries):
        rest = width - len(listed)
        assert ranked.items[row].tolist() == listed + [-1] * rest
        assert ranked.hits[row].tolist() == [item in wanted for item in listed] + [False] * rest
    for k in range(width + 2):
        found = [[item in wanted for item in one[:k]] for one, wanted in queries]
        assert ranked.n_hits(k).tolist() == [sum(row) for row in found]
        hits = ranked.hits_within(k)
        order = np.lexsort((hits.place, hits.row))
        places = [
            (row, place) for row, one in enumerate(found) for place, hit in enumerate(one) if hit
        ]
        assert (
            list(zip(hits.row[order].tolist(), hits.place[order].tolist(), strict=True)) == places
        )
        numbers = [1 + sum(found[row][:place]) for row, place in places]
        assert hits.number[order].tolist() == numbers


def test_an_empty_place_is_no_hit_even_where_minus_one_is_asked_for() -> None:
    assert Ranked.of([[0], [1, 0]], [{0, -1}, {-1}]).hits.tolist() == [
        [True, False],
        [False, False],
    ]
