from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.errors import ArtifactError
from falconer.recsys.judging.config import ComparisonConfig
from falconer.recsys.judging.reports import Comparison, ListsReport, SliceEstimate, ViewComparison
from falconer.recsys.reporting import cards as report_cards
from falconer.recsys.reporting import explorer, sections
from falconer.recsys.reporting import lists_page as report
from falconer.recsys.reporting import slices as report_slices
from falconer.recsys.reporting import users as examples
from falconer.recsys.reporting.palette import Palette
from tests.support.comparisons import (
    GOODS,
    HOSTILE,
    LEVELS,
    make_comparison,
    make_runs,
    write_goods,
)
from tests.support.datasets import write_dataset

VIEWS = ("all", "repeat", "novel")


def view_of(data: Dataset, levels: dict[str, float]) -> ViewComparison[ListsReport]:
    return make_comparison(data, levels, [None] * len(levels), ["all"]).views[0]


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_goods(tmp_path_factory.mktemp("data") / "goods")


@pytest.fixture(scope="module")
def html(goods: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = make_runs(tmp_path_factory.mktemp("runs"), goods, list(LEVELS), VIEWS)
    comparison = make_comparison(goods, LEVELS, runs, VIEWS)
    first = report.render(comparison, goods, runs)
    assert report.render(comparison, goods, runs) == first
    return first


def test_report_says_what_it_rests_on(html: str, goods: Dataset) -> None:
    expected = [
        "personal_popularity leads with ndcg@10",
        "Novel items only",
        "9f" * 32,
        "1,469,307",
        "The last 28 days are the test.",
        "For research and education only.",
        "A note that says &lt;b&gt;so&lt;/b&gt;.",
        "1,000 bootstrap resamples",
        "How ndcg is defined, with k = 10.",
        "valid ndcg@10",
        "test_days = 28",
        goods.card.dataset_id,
        escape(examples.RULE),
        escape(examples.explorer_rule(200)),
        "had been judged on 7 times here, for 5 different lists",
        "personal_popularity has the best mean of all queries, and yet",
        "Accuracy against coverage and cost",
    ]
    assert [text for text in expected if text not in html] == []


def test_report_escapes_labels_from_data(html: str) -> None:
    assert HOSTILE[:20] not in html
    assert "&lt;script&gt;document.title=&#39;broken&#39;" in html
    assert html.count("<script>") == 1


def test_every_id_is_unique_and_every_reference_has_one(html: str) -> None:
    ids = re.findall(r' id="([^"]*)"', html)
    assert sorted(ids) == sorted(set(ids))
    wanted = {
        name for names in re.findall(r' aria-labelledby="([^"]*)"', html) for name in names.split()
    }
    assert wanted | set(re.findall(r' href="#([^"]*)"', html)) <= set(ids)


@pytest.mark.parametrize(
    ("levels", "best"),
    [
        ({"a": 0.3, "b": 0.2, "c": 0.1}, True),
        ({"a": 0.3, "b": 0.295, "c": 0.1}, False),
        ({"a": 0.3}, False),
    ],
)
def test_best_is_marked_only_outside_the_noise(
    goods: Dataset, levels: dict[str, float], best: bool
) -> None:
    view = view_of(goods, levels)
    assert sections.is_best(view) is best
    table = sections.leaderboard(
        view, Palette.of(Comparison[ListsReport](dataset_id="x", fold="test", views=(view,)))
    )
    assert [">best<" in row[0] for row in table.rows] == [best] + [False] * (len(levels) - 1)


def test_best_is_the_same_whichever_way_round_differences_were_computed(goods: Dataset) -> None:
    view = view_of(goods, {"a": 0.3, "b": 0.2})
    [gap] = view.differences
    turned = gap.model_copy(
        update={
            "first": "b",
            "second": "a",
            "difference": -gap.difference,
            "low": -gap.high,
            "high": -gap.low,
        }
    )
    assert sections.is_best(view.model_copy(update={"differences": (turned,)}))


def test_differences_say_in_words_what_is_told_apart(goods: Dataset) -> None:
    table = sections.difference_table(view_of(goods, {"a": 0.3, "b": 0.295, "c": 0.1}))
    assert table is not None
    assert "alone 0.400, bootstrap 0.400" in table.rows[0][3]
    shown = [
        (str(row[0]), row[1], row[2], row[3].partition("<")[0], "told apart" in row[4], row[6])
        for row in table.rows
    ]
    assert shown == [
        ("a − b", "+0.0050", "−0.0050 to +0.0150", "0.400", False, "200"),
        ("a − c", "+0.2000", "+0.1900 to +0.2100", "0.002", True, "5"),
        ("b − c", "+0.1950", "+0.1850 to +0.2050", "0.002", True, "5"),
    ]


def test_letters_join_what_is_not_told_apart(goods: Dataset) -> None:
    view = view_of(goods, {"a": 0.3, "b": 0.295, "c": 0.1})
    table = sections.leaderboard(
        view, Palette.of(Comparison[ListsReport](dataset_id="x", fold="test", views=(view,)))
    )
    assert [row[1] for row in table.rows] == ["a", "a", "b"]


def test_users_can_be_left_out_or_be_numbers(goods: Dataset, tmp_path: Path, html: str) -> None:
    runs = make_runs(tmp_path, goods, list(LEVELS), VIEWS)
    comparison = make_comparison(goods, LEVELS, runs, VIEWS)
    without = report.render(comparison, goods, runs, ComparisonConfig(users=0))
    numbered = report.render(
        comparison, goods, runs, ComparisonConfig(users=20, user_names="pseudonyms")
    )
    [*_, own] = re.findall(r"<summary><b><bdi>(.*?)</bdi>", html)
    assert own not in without
    assert 'id="users"' in html
    assert "data-explorer hidden" in html
    assert 'id="users"' not in without
    assert "data-explorer hidden" not in without
    assert re.findall(r"<summary><b><bdi>(.*?)</bdi>", numbered) == [
        f"user {place}" for place in range(1, 11)
    ]
    explored = json.loads(
        re.search(r"<template data-content>(.*?)</template>", numbered, re.S)[1]  # type: ignore[index]
        .replace("&#34;", '"')
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
    )
    assert [one["label"] for one in explored["users"]] == [f"user {n}" for n in range(1, 21)]


@pytest.mark.parametrize(
    ("part", "n", "low", "shown"),
    [
        ("labels", 99, 0.1, "under 100"),
        ("labels", 100, 0.1, "0.1000 to"),
        ("all", 9, 0.1, "0.1000 to"),
        ("all", 100, 0.2, "no spread"),
    ],
)
def test_a_small_group_of_rows_has_no_interval_and_no_interval_claims_to_be_exact(
    goods: Dataset, part: str, n: int, low: float, shown: str
) -> None:
    view = view_of(goods, {"a": 0.3, "b": 0.2})
    numbers = {"a": 0, "b": 1}
    one = SliceEstimate(
        metric="ndcg@10", slicing="age", group="old", n=n, mean=0.2, low=low, high=0.2
    )
    reports = tuple(r.model_copy(update={"slices": (one,)}) for r in view.reports)
    made = view.model_copy(update={"reports": reports, "slices": (), "view": part})
    table = report_slices.slice_table(made, "All items", numbers)
    assert table is not None
    assert shown in str(table.rows[0][2])


def test_the_slice_table_marks_who_beats_the_first_and_words_say_where(goods: Dataset) -> None:
    view = view_of(goods, {"a": 0.3, "b": 0.2, "c": 0.1})
    table = report_slices.slice_table(view, "All items", {"a": 0, "b": 1, "c": 2})
    assert table is not None
    marked = [[("beats the first" in cell) for cell in row[2:]] for row in table.rows]
    assert marked == [[False] * 3, [False] * 3, [False, True, False], [False] * 3]
    [sentence] = report_slices.reversals(view)
    assert sentence.startswith("department of the chosen item, GROCERY")
    assert sentence.endswith(
        "(30 queries): b is ahead of a by 0.0300 in ndcg@10 (0.0100 to 0.0500)"
    )
    assert report_slices.none_found(view) == ""
    calm = view.model_copy(
        update={"slices": tuple(gap for gap in view.slices if not gap.separated)}
    )
    assert (
        report_slices.none_found(calm)
        == "In none of 4 groups is another model ahead of a outside the noise."
    )


def test_nothing_sliced_is_nothing_shown(goods: Dataset) -> None:
    view = view_of(goods, {"a": 0.3})
    bare = view.model_copy(
        update={
            "slices": (),
            "reports": tuple(one.model_copy(update={"slices": ()}) for one in view.reports),
        }
    )
    assert report_slices.slice_table(bare, "All items", {"a": 0}) is None
    assert report_slices.none_found(bare) == ""
    assert report_slices.trade_offs(bare, "All items", {"a": 0}) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_beaten_by_none_and_beats_all_others(points: list[tuple[int, int]]) -> None:
    front = {
        points[place] for place in report_slices.pareto([(float(x), float(y)) for x, y in points])
    }
    for x, y in points:
        beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) is not beaten


def test_the_explorer_holds_lists_and_marks_hits(small: Dataset, tmp_path: Path) -> None:
    file = lists_file(tmp_path / "lists.parquet", [("u0", "i3", 2), ("u0", "i2", 1)])
    people = examples.examples(small, "test", {"all": {"m": file}}, n=200)
    found = json.loads(explorer.content(people, ["m", "other"], ["All items"]))
    one = next(user for user in found["users"] if user["label"] == "user 0")
    names = [
        [found["labels"][-entry - 1 if entry < 0 else entry] for entry in row]
        for row in one["lists"][0]
    ]
    assert names == [["item 2", "item 3"], []]
    assert [entry < 0 for entry in one["lists"][0][0]] == [False, True]


def test_warnings_of_every_report_are_said_once(goods: Dataset) -> None:
    comparison = make_comparison(goods, {"a": 0.3, "b": 0.2}, [None, None], ["all", "novel"])
    assert report_cards.warnings(comparison) == ("lists hold 3 unknown items",)


def test_sampled_protocols_are_labelled(tmp_path: Path) -> None:
    data = write_goods(tmp_path / "goods", sampled=True)
    page = report.render(make_comparison(data, {"x.parquet": 0.1}, [None], ["all"]), data, [])
    assert page.count("sampled protocol</span>") == 1
    assert "Sampled protocol." in page
    assert "lists hold 3 unknown items: x.parquet (all items)" in page


def test_denominators_are_one_row_where_models_agree(goods: Dataset) -> None:
    comparison = make_comparison(goods, {"a": 0.3, "b": 0.2}, [None, None], ["all", "novel"])
    rows = report_cards.protocol_card(comparison, goods, [])["denominators"].rows
    assert [row[0] for row in rows] == ["All items", "Novel items only"]
    first = comparison.views[0]
    other = first.reports[1].model_copy(update={"n_without_list": 9})
    changed = first.model_copy(update={"reports": (first.reports[0], other)})
    comparison = comparison.model_copy(update={"views": (changed,)})
    rows = report_cards.protocol_card(comparison, goods, [])["denominators"].rows
    assert [(row[0], row[4]) for row in rows] == [("All items: a", "1"), ("All items: b", "9")]


@pytest.fixture
def small(tmp_path: Path) -> Dataset:
    """One user who had items 1, 2, 1, then chose 1 and 3; a user outside the vocabulary; one
    without history."""
    train = [(0, 1, 0), (0, 2, 1), (0, 1, 2), (1, 0, 2)]
    queries = [(0, [1, 2, 1], [1, 3]), (-1, [0], [0]), (1, [], [0])]
    return write_dataset(
        tmp_path / "small", train=train, n_users=2, n_items=4, folds={"test": queries}
    )


def lists_file(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    user, item, rank = zip(*rows, strict=True)
    table = pa.table({"user": list(user), "item": list(item), "rank": pa.array(rank, pa.int32())})
    write_table(path.parent, path.name, table)
    return path


def test_examples_show_history_choices_and_hits_of_each_view(
    small: Dataset, tmp_path: Path
) -> None:
    rows = [
        ("u0", "i3", 2),
        ("u0", "i1", 1),
        ("u0", "i9", 3),
        ("new1", "i0", 1),
        ("stranger", "i0", 1),
    ]
    file = lists_file(tmp_path / "lists.parquet", rows)
    shown = {
        one.label: one
        for one in examples.examples(small, "test", {view: {"m": file} for view in VIEWS})
    }
    assert set(shown) == {"user 0", "new1"}
    one = shown["user 0"]
    assert [(past.label, past.times) for past in one.history] == [("item 1", 2), ("item 2", 1)]
    assert (one.n_events, one.n_distinct, one.chosen) == (3, 2, ("item 1", "item 3"))
    marked = {
        lists.view: [(item.label, item.hit) for item in lists.by_label["m"]] for lists in one.lists
    }
    assert marked == {
        "all": [("item 1", True), ("item 3", True), ("i9", False)],
        "repeat": [("item 1", True), ("item 3", False), ("i9", False)],
        "novel": [("item 1", False), ("item 3", True), ("i9", False)],
    }
    assert [lists.hits("m") for lists in one.lists] == [2, 1, 1]


def test_examples_give_the_day_of_the_last_occurrence(small: Dataset) -> None:
    [one] = [one for one in examples.examples(small, "test", {}) if one.label == "user 0"]
    asked = small.queries("test").time
    assert asked is not None
    days = [
        str(np.datetime64(int(asked[0]) - back * 86_400, "s").astype("datetime64[D]"))
        for back in (1, 2)
    ]
    assert [past.last for past in one.history] == days


def test_users_are_chosen_by_their_ids_alone() -> None:
    keys = pa.array([f"u{n}" for n in range(50)])
    everybody = examples.choose(keys, eligible=np.ones(50, np.bool_))
    assert len(everybody) == examples.N_USERS
    turned = examples.choose(keys.take(pa.array(range(49, -1, -1))), eligible=np.ones(50, np.bool_))
    assert [49 - row for row in turned] == everybody
    eligible = np.ones(50, np.bool_)
    eligible[everybody[0]] = False
    assert examples.choose(keys, eligible=eligible)[:9] == everybody[1:]


def test_missing_labels_fall_back_to_the_sources_own_ids(html: str) -> None:
    assert GOODS[3] not in html
    assert "<bdi>i3</bdi>" in html


@pytest.mark.parametrize("damage", ["missing", "truncated", "column"])
def test_lists_that_cannot_be_read_give_one_clear_error(
    small: Dataset, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "lists.parquet"
    if damage == "truncated":
        lists_file(file, [("u0", "i1", 1)])
        file.write_bytes(file.read_bytes()[:-20])
    if damage == "column":
        write_table(tmp_path, file.name, {"user": ["u0"], "item": ["i1"]})
    with pytest.raises(ArtifactError, match="falconer recommend"):
        examples.examples(small, "test", {"all": {"m": file}})
