from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import ndcg_score

from falconer.recsys.metrics import METRICS
from falconer.recsys.metrics.ranked import Ranked

N_ITEMS = 12


def by_definition(name: str, listed: list[int], relevant: set[int], k: int) -> float:
    """Each metric of one query, in plain Python."""
    if not relevant:
        return math.nan
    hits = [item in relevant for item in listed[:k]]
    best = min(k, len(relevant))
    ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
    gained = sum(1 / math.log2(rank + 1) for rank in ranks)
    steep = [1 / max(1, math.log2(rank)) for rank in range(1, k + 1)]
    precisions = sum(sum(hits[:rank]) / rank for rank in ranks)
    return {
        "recall": sum(hits) / len(relevant),
        "capped_recall": sum(hits) / best,
        "precision": sum(hits) / k,
        "r_precision": sum(hits[:best]) / best,
        "hit_rate": float(any(hits)),
        "ndcg": gained / sum(1 / math.log2(rank + 1) for rank in range(1, best + 1)),
        "ndcg_log_rank": sum(steep[rank - 1] for rank in ranks) / sum(steep[:best]),
        "ndcg_k_ideal": gained / sum(1 / math.log2(rank + 1) for rank in range(1, k + 1)),
        "dcg": gained,
        "map": precisions / len(relevant),
        "capped_map": precisions / best,
        "mrr": 1 / ranks[0] if ranks else 0.0,
    }[name]


def ranked_of(lists: list[list[int]], relevant: list[set[int]], width: int) -> Ranked:
    items = np.full((len(lists), width), -1, np.int32)
    for row, one in enumerate(lists):
        items[row, : len(one)] = one[:width]
    hits = np.array(
        [
            [item in truth for item in row]
            for row, truth in zip(items.tolist(), relevant, strict=True)
        ]
    )
    counts = np.array([len(truth) for truth in relevant], np.int64)
    return Ranked(items, hits.reshape(items.shape).astype(np.bool_), counts)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    """Lists without repeats, shorter than k, empty or with holes (-1) among them; truths, empty
    ones among them."""
    item, place = st.integers(0, N_ITEMS - 1), st.integers(-3, N_ITEMS - 1)
    n = draw(st.integers(1, 6))
    drawn = draw(st.lists(st.lists(place, unique=True, max_size=N_ITEMS), min_size=n, max_size=n))
    lists = [[max(item, -1) for item in one] for one in drawn]
    return lists, draw(st.lists(st.sets(item, max_size=N_ITEMS), min_size=n, max_size=n))


@given(cases(), st.integers(1, 15), st.integers(1, 15))
def test_metrics_are_their_definitions(case: tuple[Any, Any], k: int, width: int) -> None:
    lists, relevant = case
    ranked = ranked_of(lists, relevant, width)
    for name, metric in METRICS.items():
        found = metric.function(ranked, k)
        expected = [
            by_definition(name, one[:width], truth, k)
            for one, truth in zip(lists, relevant, strict=True)
        ]
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@given(cases(), st.integers(1, 15))
def test_metrics_stay_within_their_bounds(case: tuple[Any, Any], k: int) -> None:
    ranked = ranked_of(*case, width=N_ITEMS)
    for metric in METRICS.values():
        values = metric.function(ranked, k)[ranked.n_relevant > 0]
        low, high = metric.bounds
        assert low == 0
        assert (values >= low).all()
        assert high is None or (values <= high + 1e-12).all()


@given(st.sets(st.integers(0, N_ITEMS - 1), min_size=1), st.integers(1, 15))
def test_a_perfect_list_has_one_where_the_definition_allows_it(truth: set[int], k: int) -> None:
    perfect = ranked_of([[*truth, *sorted(set(range(N_ITEMS)) - truth)]], [truth], N_ITEMS)
    for name in (
        "ndcg",
        "ndcg_log_rank",
        "capped_recall",
        "r_precision",
        "hit_rate",
        "capped_map",
        "mrr",
    ):
        assert METRICS[name].function(perfect, k)[0] == pytest.approx(1, abs=1e-12)
    assert METRICS["recall"].function(perfect, k)[0] == min(k, len(truth)) / len(truth)
    assert METRICS["precision"].function(perfect, k)[0] == min(k, len(truth)) / k


@given(cases(), st.randoms(use_true_random=False), st.integers(1, 15))
def test_a_users_value_does_not_depend_on_the_others(
    case: tuple[Any, Any], random: Any, k: int
) -> None:
    ranked = ranked_of(*case, width=N_ITEMS)
    order = list(range(len(ranked.items)))
    random.shuffle(order)
    mixed = Ranked(ranked.items[order], ranked.hits[order], ranked.n_relevant[order])
    for metric in METRICS.values():
        assert metric.function(mixed, k).tobytes() == metric.function(ranked, k)[order].tobytes()


@settings(max_examples=50)
@given(cases(), st.permutations(range(N_ITEMS)), st.integers(1, 15))
def test_names_of_items_are_irrelevant(case: tuple[Any, Any], names: list[int], k: int) -> None:
    lists, relevant = case
    renamed = [[names[item] if item >= 0 else -1 for item in one] for one in lists]
    truths = [{names[item] for item in truth} for truth in relevant]
    before, after = ranked_of(lists, relevant, N_ITEMS), ranked_of(renamed, truths, N_ITEMS)
    for metric in METRICS.values():
        assert metric.function(after, k).tobytes() == metric.function(before, k).tobytes()


@settings(max_examples=50)
@given(cases(), st.integers(1, 15), st.data())
def test_a_relevant_item_in_the_place_of_a_miss_is_never_worse(
    case: tuple[Any, Any], k: int, data: st.DataObject
) -> None:
    lists, relevant = case
    better = [list(one) for one in lists]
    for one, truth in zip(better, relevant, strict=True):
        misses = [place for place, item in enumerate(one) if item not in truth]
        if misses and truth - set(one):
            one[data.draw(st.sampled_from(misses))] = min(truth - set(one))
    before, after = ranked_of(lists, relevant, N_ITEMS), ranked_of(better, relevant, N_ITEMS)
    for metric in METRICS.values():
        assert not (metric.function(after, k) < metric.function(before, k) - 1e-12).any()


@given(cases(), st.lists(st.integers(1, 15), min_size=1, max_size=4))
def test_values_do_not_depend_on_what_was_asked_before(
    case: tuple[Any, Any], cut_offs: list[int]
) -> None:
    ranked = ranked_of(*case, width=N_ITEMS)
    for k in cut_offs:
        for metric in METRICS.values():
            fresh = metric.function(ranked_of(*case, width=N_ITEMS), k)
            assert metric.function(ranked, k).tobytes() == fresh.tobytes()


@given(cases(), st.integers(1, 14))
def test_a_longer_list_never_loses_a_hit(case: tuple[Any, Any], k: int) -> None:
    ranked = ranked_of(*case, width=N_ITEMS)
    for name in ("recall", "hit_rate", "dcg", "map", "mrr"):
        shorter, longer = (METRICS[name].function(ranked, cut) for cut in (k, k + 1))
        assert not (longer < shorter - 1e-15).any()


@given(cases(), st.integers(1, 15), st.integers(0, N_ITEMS - 2))
def test_a_hit_one_place_higher_is_never_worse(case: tuple[Any, Any], k: int, place: int) -> None:
    ranked = ranked_of(*case, width=N_ITEMS)
    order = np.arange(N_ITEMS)
    order[[place, place + 1]] = order[[place + 1, place]]
    swapped = Ranked(ranked.items[:, order], ranked.hits[:, order], ranked.n_relevant)
    rises = ~ranked.hits[:, place] & ranked.hits[:, place + 1]
    for metric in METRICS.values():
        assert not (
            metric.function(swapped, k)[rises] < metric.function(ranked, k)[rises] - 1e-12
        ).any()


class Given:
    """What implicit's evaluation asks of a model: the ids that it was given."""

    def __init__(self, items: NDArray[np.int32]) -> None:
        self.items = items

    def recommend(
        self, users: NDArray[np.int64], user_items: sp.csr_matrix, N: int
    ) -> tuple[Any, Any]:
        return self.items[users, :N], np.zeros((len(users), N), np.float32)


def implicit_metrics(ranked: Ranked, relevant: list[set[int]], k: int) -> dict[str, float]:
    from implicit.evaluation import ranking_metrics_at_k

    rows = [row for row, truth in enumerate(relevant) for _ in truth]
    columns = [item for truth in relevant for item in sorted(truth)]
    shape = (
        len(relevant),
        N_ITEMS + 1,
    )  # one item that nobody likes: implicit divides by the number of those
    test = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    padded = np.full((len(relevant), max(k, ranked.items.shape[1])), -1, np.int32)
    padded[:, : ranked.items.shape[1]] = ranked.items
    train = sp.csr_matrix(shape, dtype=np.float32)
    return dict(
        ranking_metrics_at_k(Given(padded), train, test, K=k, show_progress=False, num_threads=1)
    )


@settings(max_examples=200)
@given(cases(), st.integers(1, 15))
def test_values_are_implicits_in_its_own_convention(case: tuple[Any, Any], k: int) -> None:
    """implicit's ndcg is ours; its "precision" is all hits / sum of min(k, relevant items) over the
    users."""
    lists, relevant = case
    if not any(relevant):
        return
    ranked = ranked_of(lists, relevant, N_ITEMS)
    theirs = implicit_metrics(ranked, relevant, k)
    assert np.nanmean(METRICS["ndcg"].function(ranked, k)) == pytest.approx(
        theirs["ndcg"], abs=1e-9
    )
    caps = np.minimum(ranked.n_relevant, k)
    hits = np.nansum(METRICS["capped_recall"].function(ranked, k) * caps)
    assert hits / caps.sum() == pytest.approx(theirs["precision"], abs=1e-9)


def test_ndcg_is_sklearns_on_full_lists() -> None:
    """Their ideal list sorts all true gains: ours, where gains are binary. They want whole
    lists."""
    rng = np.random.default_rng(0)
    for k in (1, 3, N_ITEMS, N_ITEMS + 5):
        lists = [rng.permutation(N_ITEMS).tolist() for _ in range(200)]
        relevant = [
            set(rng.choice(N_ITEMS, rng.integers(1, N_ITEMS + 1), replace=False).tolist())
            for _ in lists
        ]
        ours = METRICS["ndcg"].function(ranked_of(lists, relevant, N_ITEMS), k)
        truth = np.array([[item in one for item in range(N_ITEMS)] for one in relevant], float)
        score = np.array([[-one.index(item) for item in range(N_ITEMS)] for one in lists], float)
        assert ours.mean() == pytest.approx(
            ndcg_score(truth, score, k=k, ignore_ties=True), abs=1e-9
        )
