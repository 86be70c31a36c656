"""Who gets an id, which one, and that ids stay within a lineage."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.catalogue import Catalogue, CatalogueConfig, fit, keep_frequent


def events(*pairs: tuple[int, int]) -> pl.DataFrame:
    users, items = zip(*pairs, strict=True)
    return pl.DataFrame({"user": users, "item": items}, schema={"user": pl.Int64, "item": pl.Int64})


PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40).map(
    lambda p: events(*p)
)


def ids(catalogue: Catalogue) -> dict[int, int]:
    return dict(zip(catalogue.items.values, catalogue.items.table["id"], strict=True))


def test_ids_go_by_frequency_then_value() -> None:
    catalogue = fit(events((1, 30), (2, 30), (1, 20), (1, 10), (2, 20), (1, 40)), CatalogueConfig())
    assert catalogue.items.values.to_list() == [20, 30, 10, 40]
    assert catalogue.items.table["frequency"].to_list() == [2, 2, 1, 1]
    assert catalogue.items.table["id"].to_list() == [0, 1, 2, 3]
    assert catalogue.users.values.to_list() == [1, 2]


def test_text_ids_are_ordered_by_value_too() -> None:
    frame = pl.DataFrame({"user": ["b", "a"], "item": ["007", "7"]})
    catalogue = fit(frame, CatalogueConfig())
    assert catalogue.users.values.to_list() == ["a", "b"]
    assert catalogue.items.values.to_list() == ["007", "7"]


def test_minimum_counts_are_of_distinct_partners() -> None:
    bought_often_by_one = events((1, 10), (1, 10), (1, 10), (1, 20), (2, 20))
    catalogue = fit(bought_often_by_one, CatalogueConfig(min_item_users=2))
    assert catalogue.items.values.to_list() == [20]


def test_minimum_counts_are_applied_until_nothing_more_falls_out() -> None:
    # Item 30 has one user, so it goes; then user 3 has one item left and goes; then item 20 has one
    # user and goes.
    frame = events((1, 10), (2, 10), (1, 11), (2, 11), (3, 30), (3, 20), (2, 20))
    kept = keep_frequent(frame, CatalogueConfig(min_item_users=2, min_user_items=2))
    assert sorted(kept["item"].unique()) == [10, 11]
    assert sorted(kept["user"].unique()) == [1, 2]


@given(frame=PAIRS, least_users=st.integers(1, 3), least_items=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_what_is_kept_meets_both_minimum_counts(
    frame: pl.DataFrame, least_users: int, least_items: int
) -> None:
    kept = keep_frequent(
        frame, CatalogueConfig(min_item_users=least_users, min_user_items=least_items)
    )
    for kind, partner, least in (("item", "user", least_users), ("user", "item", least_items)):
        counts = kept.group_by(kind).agg(pl.col(partner).n_unique())
        assert (counts[partner] >= least).all()


def test_counting_on_all_events_leaves_train_as_it_is() -> None:
    config = CatalogueConfig(min_item_users=2, counted_on="all")
    assert len(fit(events((1, 10), (2, 20)), config).items) == 2


def test_a_catalogue_without_events_is_refused() -> None:
    with pytest.raises(DataError, match="lower catalogue"):
        fit(events((1, 10), (2, 20)), CatalogueConfig(min_item_users=2))


@given(first=PAIRS, second=PAIRS)
@settings(max_examples=60, deadline=None)
def test_a_child_keeps_every_id_and_appends_new_ones(
    first: pl.DataFrame, second: pl.DataFrame
) -> None:
    parent = fit(first, CatalogueConfig())
    child = fit(second, CatalogueConfig(), parent=parent)
    n = len(parent.items)
    assert child.items.table[:n].equals(parent.items.table)
    assert child.items.table["id"].to_list() == list(range(len(child.items)))
    assert (child.items.table[n:]["generation"] == 1).all()
    assert child.id_space.descends_from(parent.id_space)
    nothing_new = n == len(child.items) and len(parent.users) == len(child.users)
    assert (child.id_space == parent.id_space) == nothing_new


def test_new_values_of_a_child_go_by_their_own_frequency() -> None:
    parent = fit(events((1, 10)), CatalogueConfig())
    child = fit(events((1, 30), (1, 20), (2, 30)), CatalogueConfig(), parent=parent)
    assert ids(child) == {10: 0, 30: 1, 20: 2}


def test_known_items_stay_below_the_minimum_and_new_ones_do_not() -> None:
    parent = fit(events((1, 10)), CatalogueConfig())
    child = fit(
        events((1, 10), (1, 20), (1, 30), (2, 30)), CatalogueConfig(min_item_users=2), parent=parent
    )
    assert ids(child) == {10: 0, 30: 1}


def test_lineages_differ_with_values_order_and_type() -> None:
    def space(frame: pl.DataFrame) -> tuple[str, ...]:
        return fit(frame, CatalogueConfig()).id_space.generations

    first = space(events((1, 10), (2, 11), (2, 10)))
    assert first == space(events((2, 10), (1, 10), (2, 11)))
    assert first != space(events((1, 10), (2, 12), (2, 10)))
    assert first != space(events((1, 10), (2, 11), (2, 11)))
    assert first != space(events((1, 10), (2, 11), (2, 10)).cast(pl.String))
    joined, apart = (
        pl.DataFrame({"user": ["u", "u"], "item": pair}) for pair in (["ab", "c"], ["a", "bc"])
    )
    assert space(joined) != space(apart)


def test_ids_of_another_type_than_the_parents_are_refused() -> None:
    parent = fit(events((1, 10)), CatalogueConfig())
    with pytest.raises(DataError, match="user ids are String here and Int64"):
        fit(events((1, 10)).cast(pl.String), CatalogueConfig(), parent=parent)
