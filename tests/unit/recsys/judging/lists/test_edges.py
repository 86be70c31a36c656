"""Edges of the validation, of the checks of lists and of what a report warns of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import checks, judge, leaky_features, validation
from falconer.recsys.judging.lists.validation import Validation
from falconer.recsys.metrics.exposure import Exposure
from tests.support.datasets import checkerboard, write_dataset


def of_two(root: Path, view: Any) -> Dataset:
    """The first user is asked for an item of the history, the others for a new one."""
    asked = [(0, [0, 1], [1]), (1, [0], [1]), (2, [1, 2], [0])]
    train = [(0, 0, 0), (0, 1, 1), (1, 0, 0), (2, 1, 0), (2, 2, 1)]
    return write_dataset(
        root, train=train, n_users=3, n_items=4, folds={"valid": asked}, views=(view,)
    )


@pytest.mark.parametrize(("view", "n"), [("all", 3), ("novel", 2), ("repeat", 1)])
def test_only_queries_with_something_to_find_in_the_view_are_judged(
    view: str, n: int, tmp_path: Path
) -> None:
    assert Validation(of_two(tmp_path / "d", view), n_queries=10, seed=0).n_queries == n


def test_as_many_queries_as_are_asked_for_are_no_sample(tmp_path: Path) -> None:
    data = of_two(tmp_path / "d", "all")
    whole, asked = (
        validation._sample(data, n, seed=5)[0].user.tolist() for n in (10, data.n_queries("valid"))
    )
    assert whole == asked == [0, 1, 2]
    assert Validation(data, n_queries=2, seed=0).n_queries == 2


def test_drawn_candidates_are_of_the_view_and_hold_what_is_wanted_once(tmp_path: Path) -> None:
    board = checkerboard(tmp_path / "board", n=12, repeats=1, views=("novel",))
    judge_of = Validation(board, n_queries=5, seed=0, n_candidates=4, k=3)
    assert judge_of.selection == {"monitor": "sampled_ndcg@3", "mode": "max"}
    queries = judge_of._queries
    assert queries.candidates is not None
    for row in range(5):
        drawn, wanted = queries.candidates[row].tolist(), judge_of._relevant[row].tolist()
        assert len(drawn) == len(set(drawn)) == len(wanted) + 4
        assert set(wanted) <= set(drawn)
        assert not set(drawn) & set(queries.history[row].tolist())


def of_train(root: Path, pairs: list[tuple[int, int]]) -> checks.Checked:
    train = [(user, item, day) for day, (user, item) in enumerate(pairs)]
    data = write_dataset(
        root, train=train, n_users=9, n_items=9, folds={"test": [(0, [], [1])]}, views=("novel",)
    )
    return checks.Checked(data, "test", (10,))


@pytest.mark.parametrize("at_once", [100, 4, 1])
@pytest.mark.parametrize("user", [0, 5, 8])
def test_a_repeat_is_found_whichever_part_of_the_users_holds_it(
    user: int, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PAIRS_AT_ONCE", at_once)
    pairs = [(one, one) for one in range(9)]
    assert not of_train(tmp_path / "once", pairs).repeats
    assert of_train(tmp_path / "twice", [*pairs, (user, user)]).repeats


def test_no_part_of_the_users_holds_more_than_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = list[tuple[int, int]]()
    monkeypatch.setattr(checks, "PAIRS_AT_ONCE", 4)
    monkeypatch.setattr(checks.Checked, "_repeats", lambda self, *part: parts.append(part))
    assert not of_train(tmp_path / "d", [(one, one) for one in range(9)]).repeats
    assert parts == [(0, 3), (1, 3), (2, 3)]


def of_queries(**values: Any) -> Any:
    split = SimpleNamespace(protocol="leave_last", parameters={}, views=("all",))
    data = SimpleNamespace(card=SimpleNamespace(split=split, has_time=True), n_users=3, n_items=5)
    return SimpleNamespace(
        **{"data": data, "fold": "test", "has_time": True, "by_global_time": False,
           "protocol": "leave_last", **values}
    )  # fmt: skip


@pytest.mark.parametrize(("last", "share"), [(5, None), (6, "25%"), (100, "100%")])
def test_queries_before_the_last_train_event_are_counted(last: int, share: str | None) -> None:
    times = [[np.array([1, last])], [np.array([], np.int64)]]
    checked = of_queries(time=np.array([5, 6, 7, 8]), train=lambda name: iter(times))
    found = list(checks.others_future_in_train(checked))
    assert [share in text for text in found] == ([True] if share else [])


def seen_of(items: list[list[int]], view: Any, history: list[list[int]]) -> judge._Seen:
    """What is counted of these lists of queries that are asked for one item each."""
    lists = np.array(items, np.int32)
    queries = Queries(np.arange(len(lists), dtype=np.int32), Ragged.of(history))
    seen = judge._Seen()
    ranked = SimpleNamespace(items=lists, n_relevant=np.ones(len(lists), np.int64))
    block = SimpleNamespace(
        ranked=ranked,
        listed=(lists >= 0).any(axis=1),
        n_outside=np.zeros(len(lists), np.int64),
        strange=judge._strange(lists, queries, view, 9),
    )
    seen.add(block, dict[int, Exposure]())  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize(
    ("view", "strange"),
    [
        ("all", None),
        ("novel", "2 listed items are in the user's"),
        ("repeat", "1 listed items are not in the"),
    ],
)
def test_items_that_the_view_does_not_rank_are_counted_and_empty_places_are_not(
    view: Any, strange: str | None
) -> None:
    seen = seen_of([[0, 1, 5], [-1, -1, -1]], view, [[0, 1], [2]])
    found = seen.warnings(view, EvaluationConfig(k=(1, 3)))
    assert [strange in text for text in found] == ([True] if strange else [])
    assert (seen.n_queries, seen.n_evaluated, seen.n_without_list) == (2, 2, 1)


def test_a_cut_off_at_the_longest_list_needs_no_warning_and_one_beyond_does() -> None:
    seen = seen_of([[4, -1, -1], [4, 5, -1]], "all", [[], []])
    assert seen.warnings("all", EvaluationConfig(k=(1, 2))) == []
    (found,) = seen.warnings("all", EvaluationConfig(k=(1, 3, 5)))
    assert found == "no list holds more than 2 items: figures at 3, 5 judge these"


def test_a_sample_of_rows_is_the_same_each_time_and_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaky_features, "MOST_ROWS", 10)
    assert leaky_features._sample(10).tolist() == list(range(10))
    drawn = leaky_features._sample(1000)
    assert len(np.unique(drawn)) == 10
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == leaky_features._sample(1000).tolist()


def test_rows_of_a_sample_are_counted_from_the_block_they_are_in() -> None:
    chosen = np.array([0, 3, 4, 9])
    assert leaky_features._within(chosen, 0, 3).tolist() == [0]
    assert leaky_features._within(chosen, 3, 2).tolist() == [0, 1]
    assert leaky_features._within(chosen, 5, 4).tolist() == []
    assert leaky_features._within(chosen, 5, 5).tolist() == [4]


def test_three_against_one_tell_a_row_and_two_of_a_set_tell_it() -> None:
    """Two of three are left to outvote the one, when a row of the three is left out; of rows that
    hold sets, one other row with the target is enough."""
    codes = np.concatenate([np.repeat([0, 1], 47), np.repeat(2, 4)])
    targets = np.concatenate([np.repeat([0, 1], 47), [2, 2, 2, 3]])
    assert leaky_features.told(codes, targets) == pytest.approx(97 / 98)
    # a hundred rows with two targets each: five with a code of their own share their first in pairs
    row = np.repeat(np.arange(100), 2)
    codes = np.where(row < 95, row % 2, 2)
    first = np.concatenate([np.arange(95) % 2, [10, 10, 11, 12, 13]])
    targets = np.stack([first, 1000 + np.arange(100)], axis=1).ravel()
    assert leaky_features.told(codes, targets, row=row) == pytest.approx(97 / 100)
