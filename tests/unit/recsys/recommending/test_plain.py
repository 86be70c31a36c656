"""Without Numba the lists are the same to the bit."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries
from falconer.recsys.recommending import top_k as ranking
from tests.unit.recsys.recommending.test_ranking import Table, rankings

COMPILED = "falconer.recsys.recommending.compiled"


@settings(deadline=None)  # the first call may compile
@given(rankings(), st.integers(1, 12), st.sampled_from(["all", "repeat", "novel"]))
def test_both_selections_give_the_same_bits(
    case: tuple[NDArray[np.float32], Queries], k: int, view: str
) -> None:
    scores, queries = case
    bits = {}
    for name in ("compiled", "plain"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "plain":
                patch.setitem(sys.modules, COMPILED, None)
            assert ranking._selection().__name__.endswith(name)
            found = ranking.top_k(
                Table(scores),
                queries,
                n_items=scores.shape[1],
                k=k,
                view=view,  # type: ignore[arg-type]
            )
        bits[name] = (found.items.tolist(), found.scores.view(np.int32).tolist())
    assert bits["compiled"] == bits["plain"]
