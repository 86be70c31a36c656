from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.errors import DataError, PipelineError
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.lists.ranked import TopK
from falconer.recsys.lists.stored import Lists

USERS = pa.array(["ann", "bob", "cy"])
ITEMS = pa.array(["tea", "jam", "rye", "oil"])


def put(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def read(path: Path, k: int = 3, users: pa.Array = USERS, items: pa.Array = ITEMS) -> Lists:
    return recommendations.read(path, user_keys=users, item_keys=items, k=k)


def top(items: list[list[int]], scores: list[list[float]]) -> TopK:
    return TopK(np.array(items, np.int32), np.array(scores, np.float32))


def test_lists_come_back_as_written_with_the_sources_own_ids(tmp_path: Path) -> None:
    target = tmp_path / "run" / "lists.parquet"
    with recommendations.writer(
        target, user_type=USERS.type, item_keys=ITEMS, about={"fold": "test", "k": 2}
    ) as write:
        write(USERS[:2], top([[2, 0], [1, -1]], [[0.5, 0.25], [3, -np.inf]]))
        assert not target.exists()
        write(USERS[2:], top([[-1, -1]], [[-np.inf, -np.inf]]))
    rows = pq.read_table(target).to_pylist()
    assert rows == [
        {"user": "ann", "item": "rye", "rank": 1, "score": 0.5},
        {"user": "ann", "item": "tea", "rank": 2, "score": 0.25},
        {"user": "bob", "item": "jam", "rank": 1, "score": 3.0},
    ]
    assert [str(field.type) for field in pq.read_schema(target)] == [
        "string",
        "string",
        "int32",
        "float",
    ]
    assert pq.ParquetFile(target).num_row_groups == 2
    assert recommendations.about(target) == {"fold": "test", "k": 2}
    lists = read(target)
    assert lists.items.tolist() == [[2, 0, -1], [1, -1, -1], [-1, -1, -1]]
    assert lists.listed.tolist() == [True, True, False]
    assert lists.warnings == ()


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = put(tmp_path / "lists.parquet", old=[1])
    before = target.read_bytes()

    def interrupted() -> None:
        with recommendations.writer(
            target, user_type=USERS.type, item_keys=ITEMS, about={}
        ) as write:
            write(USERS, top([[0]], [[1.0]]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["lists.parquet"]


def test_a_folder_that_is_no_folder_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(PipelineError, match="cannot write there"),
        recommendations.writer(
            tmp_path / "file" / "x.parquet", user_type=USERS.type, item_keys=ITEMS, about={}
        ),
    ):
        pass


def by_definition(rows: list[tuple[str, str, float]], k: int) -> list[list[int]]:
    """By falling score, ties by the source's item id, unknown items last; unknown and repeated
    items keep their place as -1."""
    users, items = USERS.to_pylist(), ITEMS.to_pylist()
    lists = []
    for user in users:
        mine = [
            (-score, item not in items, item, items.index(item) if item in items else 99)
            for name, item, score in rows
            if name == user
        ]
        ordered = [item for *_, item in sorted(mine)][:k]
        first = [
            -1 if item == 99 or item in ordered[:place] else item
            for place, item in enumerate(ordered)
        ]
        lists.append(first + [-1] * (k - len(first)))
    return lists


@settings(deadline=None, max_examples=60)  # files are written
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "cy", "nobody"]),
            st.sampled_from(["tea", "jam", "rye", "oil", "moon"]),
            st.sampled_from([-1.0, 0.0, 0.5, 2.0]),
        ),
        max_size=25,
    ),
    st.integers(1, 6),
    st.sampled_from([1, 2, 100]),
)
def test_any_rows_in_any_order_are_read_by_the_rule(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, float]],
    k: int,
    at_once: int,
) -> None:
    rows = [*rows, ("ann", "tea", 1.0)]
    user, item, score = (list(column) for column in zip(*rows, strict=True))
    path = put(
        tmp_path_factory.mktemp("any") / "lists.parquet",
        user=user,
        item=item,
        score=score,
        extra=score,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("falconer.recsys.lists.stored.QUERIES_AT_ONCE", at_once)
        lists = read(path, k)
    assert lists.items.tolist() == by_definition(rows, k)
    assert lists.listed.tolist() == [name in user for name in USERS.to_pylist()]
    assert any("rows of users" in line for line in lists.warnings) == ("nobody" in user)
    assert any("rows of items" in line for line in lists.warnings) == ("moon" in item)


def test_ranks_go_before_scores_and_need_not_be_dense(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.parquet",
        user=["ann"] * 3,
        item=["tea", "jam", "rye"],
        rank=[7, 1, 3],
        score=[3.0, 1, 2],
    )
    assert read(path).items[0].tolist() == [1, 2, 0]


def test_repeats_and_unknown_ids_are_counted(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.parquet",
        user=["ann", "ann", "ann", "zoe", "bob"],
        item=["tea", "tea", "jam", "tea", "moon"],
        rank=[1, 2, 3, 1, 1],
    )
    lists = read(path)
    assert lists.items.tolist() == [[0, -1, 1], [-1, -1, -1], [-1, -1, -1]]
    assert lists.listed.tolist() == [True, True, False]
    assert lists.warnings == (
        "rows of users that are not asked about in this fold: 1 (such as 'zoe'); left out",
        "rows of items that are not in the catalogue: 1 (such as 'moon'); each keeps its place as "
        "a miss",
        "items that stand in a list already: 1; the best place counts, the others are misses",
    )


@pytest.mark.parametrize(
    "user",
    [
        pa.array([20, 10], pa.int64()),
        pa.array([20, 10], pa.uint8()),
        pa.array([20.0, 10.0], pa.float64()),
        pa.array(["20", "10"]),
        pa.array(["20", "10"], pa.large_string()),
        pa.array(["20", "10"]).dictionary_encode(),
        pa.array([20, 10]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize(
    "keys", [pa.array([10, 20]), pa.array(["10", "20"])], ids=["to int", "to text"]
)
def test_ids_of_another_type_match_where_nothing_is_lost(
    tmp_path: Path, user: pa.Array, keys: pa.Array
) -> None:
    path = put(tmp_path / "a.parquet", user=user, item=["tea", "jam"], rank=[1, 1])
    lists = read(path, 1, users=keys)
    assert lists.items.tolist() == [[1], [0]]


def test_text_with_leading_zeros_is_not_the_number(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", user=["007", "7"], item=["tea", "jam"], rank=[1, 1])
    assert read(path, 1, users=pa.array([7, 8])).items.tolist() == [[1], [-1]]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no item column": (
        {"user": ["ann"], "product": ["tea"], "rank": [1]},
        "no column item, only user, product, rank",
    ),
    "no order": ({"user": ["ann"], "item": ["tea"]}, "no column rank or score"),
    "no rows": (
        {"user": pa.array([], pa.string()), "item": pa.array([], pa.string()), "rank": []},
        "has no rows",
    ),
    "empty user": (
        {"user": ["ann", None], "item": ["tea", "jam"], "rank": [1, 1]},
        "row 1: user is empty",
    ),
    "nan item": (
        {"user": ["ann", "bob"], "item": [1.0, np.nan], "rank": [1, 1]},
        "row 1: item is empty",
    ),
    "nan score": (
        {"user": ["ann", "bob"], "item": ["tea", "jam"], "score": [1, np.nan]},
        "row 1: score is NaN",
    ),
    "null rank": (
        {"user": ["ann", "bob"], "item": ["tea", "jam"], "rank": [None, 1]},
        "row 0: rank is NaN or empty",
    ),
    "rank is text": (
        {"user": ["ann"], "item": ["tea"], "rank": ["1"]},
        "column rank is string; it must hold numbers",
    ),
    "ids are dates": (
        {"user": pa.array([0], pa.date32()), "item": ["tea"], "rank": [1]},
        "ids must be text or",
    ),
    "ids are fractions": (
        {"user": [1.5], "item": ["tea"], "rank": [1]},
        "column user: .*ids must be text or whole",
    ),
    "other users": (
        {"user": [17], "item": ["tea"], "rank": [1]},
        "not one user is in the dataset: the file has int64 such as 17, the dataset string such as "
        "'ann'",
    ),
    "other items": (
        {"user": ["ann"], "item": ["moon"], "rank": [1]},
        "not one item is in the dataset.*'moon'.*'tea'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_judged_says_why(tmp_path: Path, case: str) -> None:
    columns, message = BAD[case]
    path = put(tmp_path / "lists.parquet", **columns)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_missing_a_truncated_and_a_foreign_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.parquet")
    whole = put(tmp_path / "whole.parquet", user=["ann"], item=["tea"], rank=[1]).read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "text": b"user,item\n",
        "empty": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a whole parquet file"):
            read(tmp_path / name)


def test_many_row_groups_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommendations, "ROWS_AT_ONCE", 3)
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "user": rng.choice(["ann", "bob", "cy"], 50),
            "item": rng.choice(["tea", "jam", "moon"], 50),
            "score": rng.random(50),
        }
    )
    pq.write_table(table, tmp_path / "one.parquet")
    pq.write_table(table, tmp_path / "many.parquet", row_group_size=2)
    one, many = read(tmp_path / "one.parquet", 9), read(tmp_path / "many.parquet", 9)
    assert one.items.tolist() == many.items.tolist()
    assert one.warnings == many.warnings
    broken = table.set_column(2, "score", pa.array([1.0] * 43 + [np.nan] * 7))
    pq.write_table(broken, tmp_path / "nan.parquet", row_group_size=2)
    with pytest.raises(DataError, match="row 43: score"):
        read(tmp_path / "nan.parquet")


@settings(deadline=None, max_examples=60)  # files are written
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "cy", "nobody"]),
            st.lists(st.sampled_from(["tea", "jam", "rye", "oil", "moon"]), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda row: row[0],
    ),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_lists_in_order_are_read_part_by_part_as_the_others_are(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[str]]], group: int, k: int
) -> None:
    rows = sorted(
        [*((user, items) for user, items in rows if user != "bob"), ("bob", ["tea", "oil"])]
    )
    lines = [(user, item, place) for user, items in rows for place, item in enumerate(items)]
    user, item, rank = (list(column) for column in zip(*lines, strict=True))
    path = tmp_path_factory.mktemp("parts") / "lists.parquet"
    pq.write_table(pa.table({"user": user, "item": item, "rank": rank}), path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommendations, "ROWS_AT_ONCE", 1)
        patch.setattr("falconer.recsys.lists.stored.QUERIES_AT_ONCE", group)
        some = read(path, k)
        patch.setattr(recommendations, "put_as_they_come", lambda *_: False)
        whole = read(path, k)
    assert some.items.tolist() == whole.items.tolist()
    assert some.listed.tolist() == whole.listed.tolist()
    assert some.warnings == whole.warnings


def test_whole_ordered_lists_are_not_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendations, "put_in_any_order", None)
    table = {"user": ["ann", "ann", "cy"], "item": ["tea", "jam", "oil"], "score": [2.0, 1.0, 0.5]}
    assert read(put(tmp_path / "a.parquet", **table)).items.tolist() == [
        [0, 1, -1],
        [-1] * 3,
        [3, -1, -1],
    ]
