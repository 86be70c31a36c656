"""Queries and truth of small splits whose answer is known."""

from __future__ import annotations

import polars as pl

from falconer.pipelines.etl.folds import FoldTables, fold_of
from falconer.pipelines.etl.split import FoldRule, Part

ITEMS = pl.Series([10, 20, 30])
"""The catalogue's values by id; 99 is outside it."""
USERS = {"a": 0, "b": 1}
RULE = FoldRule(Part.TEST, (Part.TRAIN, Part.VALID), asked_at=1000)


def events(*rows: tuple[str, int, int, Part]) -> pl.DataFrame:
    """(user, item, time, part) in order, with ids."""
    ids = {item: place for place, item in enumerate(ITEMS)}
    return pl.DataFrame(
        [
            (place, user, item, time, int(part), USERS.get(user, -1), ids.get(item, -1))
            for place, (user, item, time, part) in enumerate(rows)
        ],
        schema={
            "ordinal": pl.Int64,
            "user": pl.String,
            "item": pl.Int64,
            "time": pl.Int64,
            "part": pl.Int8,
            "user_id": pl.Int32,
            "item_id": pl.Int32,
        },
        orient="row",
    )


def rows(ragged: object) -> list[list[int]]:
    return [ragged[row].tolist() for row in range(len(ragged))]  # type: ignore[arg-type,index]


def build(
    rule: FoldRule, *given: tuple[str, int, int, Part], candidates: pl.DataFrame | None = None
) -> FoldTables:
    return fold_of(events(*given), rule, candidates=candidates, items=ITEMS)


def test_a_query_holds_what_was_known_and_the_truth_what_came() -> None:
    fold = build(
        RULE,
        ("b", 30, 1, Part.TRAIN),
        ("a", 10, 2, Part.TRAIN),
        ("a", 99, 3, Part.TRAIN),
        ("a", 10, 4, Part.VALID),
        ("a", 20, 1000, Part.TEST),
        ("b", 30, 1001, Part.TEST),
        ("b", 10, 1002, Part.TEST),
        ("b", 30, 1003, Part.TEST),
    )
    assert fold.keys.to_list() == ["a", "b"]
    assert fold.queries.user.tolist() == [0, 1]
    assert rows(fold.queries.history) == [[0, 0], [2]]
    assert rows(fold.queries.history_times) == [[2, 4], [1]]
    assert fold.queries.time is not None
    assert fold.queries.time.tolist() == [1000, 1000]
    assert rows(fold.truth.items) == [[1], [2, 0]]
    assert fold.truth.n_outside.tolist() == [0, 0]


def test_unknown_users_and_items_are_counted_and_never_ids() -> None:
    fold = build(
        RULE, ("a", 10, 1, Part.TRAIN), ("new", 99, 1001, Part.TEST), ("new", 99, 1002, Part.TEST)
    )
    assert fold.keys.to_list() == ["new"]
    assert fold.queries.user.tolist() == [-1]
    assert rows(fold.queries.history) == [[]]
    assert rows(fold.truth.items) == [[]]
    assert fold.truth.n_outside.tolist() == [1]
    assert fold.counts == {
        "events": 2,
        "events_outside": 2,
        "queries": 1,
        "queries_of_unknown_users": 1,
        "queries_without_history": 1,
    }


def test_without_a_boundary_a_query_is_asked_at_its_first_truth_event() -> None:
    rule = FoldRule(Part.VALID, (Part.TRAIN,))
    fold = build(rule, ("a", 10, 5, Part.TRAIN), ("a", 20, 7, Part.VALID), ("a", 30, 8, Part.VALID))
    assert fold.queries.time is not None
    assert fold.queries.time.tolist() == [7]


def test_data_without_times_gives_queries_without_times() -> None:
    given = events(("a", 10, 0, Part.TRAIN), ("a", 20, 0, Part.TEST)).drop("time")
    fold = fold_of(given, FoldRule(Part.TEST, (Part.TRAIN,)), items=ITEMS)
    assert fold.queries.time is None
    assert fold.queries.history_times is None
    assert rows(fold.queries.history) == [[0]]


def test_candidates_are_ascending_ids_of_the_catalogue() -> None:
    candidates = pl.DataFrame(
        {
            "user": ["b", "a", "c"],
            "item": [10, 30, 10],
            "candidates": [[10], [30, 99, 10, 30], [10]],
        }
    )
    fold = build(
        RULE,
        ("a", 10, 1, Part.TRAIN),
        ("a", 30, 1001, Part.TEST),
        ("b", 10, 1001, Part.TEST),
        candidates=candidates,
    )
    assert rows(fold.queries.candidates) == [[0, 2], [0]]
