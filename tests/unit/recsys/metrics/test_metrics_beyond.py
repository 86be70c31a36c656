"""Metrics beyond accuracy: each against its definition in plain Python, and their extremes."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.queries import Ragged
from falconer.recsys.metrics import BEYOND_METRICS, LIST_METRICS
from falconer.recsys.metrics import beyond as beyond_module
from falconer.recsys.metrics.compute import exposures, of_all_lists, per_query
from falconer.recsys.metrics.context import GROUPS, Context
from falconer.recsys.metrics.exposure import Exposure, coverage, gini, popularity_lift, shannon
from falconer.recsys.metrics.ranked import Ranked

N_ITEMS = 9
COUNTS = [50, 0, 3, 3, 7, 20, 1, 1, 15]
COLOURS = [0, 1, 1, 0, -1, 2, 2, 0, 1]
SIZES = [0, 0, 1, 1, 0, 1, -1, 0, 1]


def context_for(histories: list[list[int]]) -> Context:
    return Context(
        item_counts=np.array(COUNTS, np.int64),
        history=Ragged.of(histories),
        categories={"colour": np.array(COLOURS, np.int32), "size": np.array(SIZES, np.int32)},
        category="colour",
        cardinality=3,
    )


def ranked_of(lists: list[list[int]], relevant: list[set[int]]) -> Ranked:
    items = np.full((len(lists), N_ITEMS + 2), -1, np.int32)
    for row, one in enumerate(lists):
        items[row, : len(one)] = one
    hits = np.array(
        [
            [item in truth for item in row]
            for row, truth in zip(items.tolist(), relevant, strict=True)
        ]
    )
    return Ranked(
        items,
        hits.reshape(items.shape).astype(np.bool_),
        np.array([len(one) for one in relevant], np.int64),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]], list[list[int]]]:
    """Lists (short, empty, with holes), relevant items and histories (with repeats, empty) of a few
    users."""
    n = draw(st.integers(1, 5))
    item = st.integers(0, N_ITEMS - 1)
    places = st.lists(st.integers(-2, N_ITEMS - 1), max_size=N_ITEMS, unique=True)
    lists = [[max(place, -1) for place in draw(places)] for _ in range(n)]
    return (
        lists,
        [draw(st.sets(item)) for _ in range(n)],
        [draw(st.lists(item, max_size=6)) for _ in range(n)],
    )


def by_definition(
    name: str, places: list[int], relevant: set[int], past: list[int], k: int
) -> float:
    places = places[:k]
    listed = [item for item in places if item >= 0]
    if name == "serendipity":
        popular = sorted(range(N_ITEMS), key=lambda item: (-COUNTS[item], item))[:k]
        return (
            sum(item in relevant and item not in popular for item in listed) / k
            if relevant
            else math.nan
        )
    if name == "auc":
        return auc_by_definition(listed, relevant)
    if name == "novelty":
        return mean([-math.log2(max(1, COUNTS[item]) / sum(COUNTS)) for item in listed])
    if name == "list_popularity":
        return mean([COUNTS[item] for item in listed])
    if name == "diversity":
        return mean(
            [(differ(a, b, COLOURS) + differ(a, b, SIZES)) / 2 for a, b in combinations(listed, 2)]
        )
    return divergence([COLOURS[item] for item in past], [COLOURS[item] for item in listed])


def auc_by_definition(listed: list[int], relevant: set[int]) -> float:
    place = {item: number for number, item in enumerate(listed)}
    pairs = [
        (place.get(a, 99), place.get(b, 99))
        for a in relevant
        for b in set(range(N_ITEMS)) - relevant
    ]
    return mean([(first < second) + (first == second) / 2 for first, second in pairs])


def mean(values: list[Any]) -> float:
    return sum(values) / len(values) if values else math.nan


def differ(first: int, second: int, codes: list[int]) -> bool:
    return codes[first] != codes[second] or codes[first] < 0


def divergence(past: list[int], listed: list[int]) -> float:
    past, listed = [code for code in past if code >= 0], [code for code in listed if code >= 0]
    if not past or not listed:
        return math.nan
    shares = [
        (past.count(code) / len(past), listed.count(code) / len(listed)) for code in set(past)
    ]
    return sum(p * math.log(p / (0.99 * q + 0.01 * p)) for p, q in shares)


@settings(max_examples=60)
@given(cases(), st.integers(1, N_ITEMS + 1), st.sampled_from([1, 7, 2**21]))
def test_metrics_are_their_definitions_in_blocks_of_any_size(case: Any, k: int, cells: int) -> None:
    lists, relevant, histories = case
    ranked, context = ranked_of(lists, relevant), context_for(histories)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond_module, "CELLS_AT_ONCE", cells)
        found = per_query(ranked, context, tuple(BEYOND_METRICS), (k,))
    for name, metric in BEYOND_METRICS.items():
        expected = [
            by_definition(name, *user, k) for user in zip(lists, relevant, histories, strict=True)
        ]
        np.testing.assert_allclose(found[f"{name}@{k}"], expected, rtol=0, atol=1e-12, err_msg=name)
        low, high = metric.bounds
        values = found[f"{name}@{k}"][~np.isnan(found[f"{name}@{k}"])]
        assert low is None or (values >= low - 1e-12).all()
        assert high is None or (values <= high + 1e-12).all()


@settings(max_examples=40)
@given(cases(), st.randoms(use_true_random=False), st.integers(1, N_ITEMS))
def test_a_users_value_does_not_depend_on_the_others(case: Any, random: Any, k: int) -> None:
    order = list(range(len(case[0])))
    random.shuffle(order)
    mixed = [[part[row] for row in order] for part in case]
    before = per_query(
        ranked_of(case[0], case[1]), context_for(case[2]), tuple(BEYOND_METRICS), (k,)
    )
    after = per_query(
        ranked_of(mixed[0], mixed[1]), context_for(mixed[2]), tuple(BEYOND_METRICS), (k,)
    )
    for name, values in before.items():
        assert values[order].tobytes() == after[name].tobytes()


@settings(max_examples=40)
@given(cases(), st.integers(1, N_ITEMS), st.data())
def test_values_of_all_lists_are_those_of_their_blocks_together(
    case: Any, k: int, data: st.DataObject
) -> None:
    lists, relevant, histories = case
    cut = data.draw(st.integers(0, len(lists)))
    context, names = context_for(histories), tuple(LIST_METRICS)
    whole = exposures(ranked_of(lists, relevant), context, names, (k,))
    parts = [
        exposures(
            ranked_of(lists[rows], relevant[rows]),
            context.of(context.history.slice(*rows.indices(len(lists))[:2]), context.group[rows]),
            names,
            (k,),
        )[k]
        for rows in (slice(0, cut), slice(cut, len(lists)))
        if lists[rows]
    ]
    together = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    found, expected = of_all_lists({k: together}, names), of_all_lists(whole, names)
    assert list(found) == list(expected)
    np.testing.assert_allclose(
        list(found.values()), list(expected.values()), rtol=1e-12, atol=1e-12
    )


def shown(counts: list[int]) -> Exposure:
    return Exposure(np.array(counts, np.int64), np.zeros(4), np.zeros(4))


def test_exposure_has_its_known_values() -> None:
    even, one = shown([3, 3, 3, 3]), shown([0, 9, 0, 0])
    assert (coverage(even), gini(even), shannon(even)) == (1, 0, 2)
    assert (coverage(one), gini(one), shannon(one)) == (0.25, 0.75, 0)
    mixed = [1, 0, 5, 2]
    differences = sum(abs(a - b) for a in mixed for b in mixed)
    assert gini(shown(mixed)) == pytest.approx(
        differences / (2 * len(mixed) * sum(mixed)), abs=1e-12
    )
    assert np.isnan([gini(shown([0, 0])), shannon(shown([0, 0]))]).all()
    assert of_all_lists({5: shown([0, 0])}, ("coverage", "gini")) == {"coverage@5": 0}


def test_coverage_counts_each_item_once_and_no_empty_place() -> None:
    items = np.array([[3, 1, -1], [1, 3, 0], [-1, -1, -1]], np.int32)
    ranked = Ranked(items, np.zeros(items.shape, np.bool_), np.zeros(3, np.int64))
    found = of_all_lists(
        exposures(ranked, context_for([[], [], []]), ("coverage",), (1, 2, 3, 99)), ("coverage",)
    )
    assert list(found.values()) == [2 / N_ITEMS, 2 / N_ITEMS, 3 / N_ITEMS, 3 / N_ITEMS]


def test_popularity_lift_is_a_ratio_of_means_over_users_that_have_both() -> None:
    histories = [[5, 5, 4], [8], [], [0]]
    lists = [[0, 8], [6], [0], []]
    context = context_for(histories)
    before = [(20 + 20 + 7) / 3, 15]
    after = [(50 + 15) / 2, 1]
    found = popularity_lift(Exposure.of(ranked_of(lists, [set()] * 4), context, 5))
    assert found == pytest.approx(sum(after) / sum(before) - 1, abs=1e-12)


def test_the_same_list_as_history_lifts_nothing() -> None:
    histories = [[0, 2], [5], [8, 4, 3]]
    exposure = Exposure.of(ranked_of(histories, [set()] * 3), context_for(histories), 9)
    assert popularity_lift(exposure) == pytest.approx(0, abs=1e-12)


def test_groups_are_the_lowest_and_highest_fifth_by_popular_items_in_the_history() -> None:
    rng = np.random.default_rng(0)
    popular, rare = [0, 5], [1, 2, 3, 4, 6, 7]  # 20 % of 9 items are 2
    shares = rng.permutation(10)
    histories = [[popular[0]] * share + [rare[0]] * (10 - share) for share in shares] + [[]]
    group = context_for(histories).group
    expected = [
        "niche" if share < 2 else "blockbuster" if share > 7 else "diverse" for share in shares
    ]
    assert [GROUPS[place] for place in group[:-1]] == expected
    assert group[-1] == -1
    exposure = Exposure.of(ranked_of([[0]] * 11, [set()] * 11), context_for(histories), 1)
    lifts = [LIST_METRICS[f"popularity_lift_{name}"].function(exposure) for name in GROUPS]
    assert lifts == sorted(lifts, reverse=True)


def test_an_item_that_train_never_had_is_as_novel_as_one_that_it_had_once() -> None:
    values = per_query(
        ranked_of([[1], [6], [0]], [set()] * 3), context_for([[]] * 3), ("novelty",), (1,)
    )["novelty@1"]
    assert values.tolist() == [math.log2(100), math.log2(100), 1]


def test_the_shares_of_the_history_are_calibrated() -> None:
    histories = [[0, 3, 5, 2], [0, 0, 7, 5]]
    lists = [[7, 0, 6, 8], [0, 3, 7, 6]]
    found = per_query(
        ranked_of(lists, [set()] * 2), context_for(histories), ("miscalibration",), (4, 1)
    )
    assert found["miscalibration@4"] == pytest.approx([0, 0], abs=1e-12)
    assert (found["miscalibration@1"] > 0.1).all()
