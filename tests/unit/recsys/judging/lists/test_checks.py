"""The checks of the protocol: leaks of several kinds and sizes are found, and clean datasets raise
no alarm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.data.schema import Feature
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.etl.build import build
from falconer.recsys.judging import reads
from falconer.recsys.judging.lists import checks as protocol
from falconer.recsys.judging.lists import leaky_features as tell_tale
from tests.support import shop
from tests.support.datasets import checkerboard, write_dataset
from tests.support.tiny import random_dataset

K = (1, 10)
DAY = 86_400


@pytest.fixture(autouse=True, params=["whole", "in parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check says the same however few queries and pairs it looks at together."""
    if request.param == "in parts":
        monkeypatch.setattr(protocol, "QUERIES_AT_ONCE", 3)
        monkeypatch.setattr(tell_tale, "QUERIES_AT_ONCE", 3)
        monkeypatch.setattr(protocol, "PAIRS_AT_ONCE", 100)


def warned(data: Dataset, fold: Any = "test", k: tuple[int, ...] = K) -> str:
    return "\n".join(protocol.warnings_of(data, fold, k))


def leaks(data: Dataset) -> list[str]:
    return [text for text in protocol.warnings_of(data, "test", K) if text.startswith("leakage")]


def changed(data: Dataset, **tables: pa.Table) -> Dataset:
    """The dataset with other tables, whole again; `queries` and `truth` are those of the test
    fold."""
    for name, table in tables.items():
        file = {"train": "train/part-00000.parquet"}.get(name, f"{name}/test.parquet")
        write_table(data.path, file, table)
    write_card(data.path, data.card.model_copy(update={"content": checksums(data.path)}))
    return Dataset.open(data.path)


def with_card(data: Dataset, **update: Any) -> Dataset:
    write_card(data.path, data.card.model_copy(update=update))
    return Dataset.open(data.path)


def claims(data: Dataset, name: str) -> Dataset:
    """The dataset with a split of another name."""
    return with_card(data, split=data.card.split.model_copy(update={"protocol": name}))


def shop_of(root: Path, split: Any, seed: int) -> Dataset:
    root.mkdir(parents=True, exist_ok=True)
    events = shop.events(seed=seed)
    if split == "unrepeated":
        events, split = (
            events.unique(["customer", "sku"], keep="first", maintain_order=True),
            "random",
        )
    return Dataset.open(
        build(shop.recipe(shop.write(root / "tables", events), split=split), root / "out")
    )


@pytest.mark.parametrize("split", [*shop.SPLITS, "unrepeated"])
def test_clean_datasets_raise_no_alarm(split: str, tmp_path: Path) -> None:
    """18 datasets in all, of every protocol: the number of false alarms is asserted to be 0."""
    found = [leaks(shop_of(tmp_path / str(seed), split, seed)) for seed in range(3)]
    assert sum(map(len, found)) == 0, found


@pytest.mark.parametrize("split", ["temporal", "rolling"])
def test_global_time_needs_no_warning_at_all(split: str, tmp_path: Path) -> None:
    assert warned(shop_of(tmp_path, split, 0)) == ""


@pytest.mark.parametrize("split", ["leave_last", "random"])
def test_without_global_time_the_reader_is_told(split: str, tmp_path: Path) -> None:
    assert "no global time in this protocol" in warned(shop_of(tmp_path, split, 0))


def test_made_datasets_raise_no_alarm(tmp_path: Path) -> None:
    made = [random_dataset(tmp_path / str(seed), seed=seed) for seed in range(3)]
    boards = [checkerboard(tmp_path / f"board{n}", n=n, views=("novel",)) for n in (8, 12)]
    assert [leaks(data) for data in [*made, *boards]] == [[]] * 5


def late_events(data: Dataset, share: float) -> Dataset:
    """A share of the train events (one at least) gets a time after the first query."""
    train = data.train
    n = max(1, round(share * len(train)))
    time = train["time"].to_numpy().copy()
    time[-n:] = data.queries("test").time.min() + np.arange(n)
    return changed(
        data, train=train.set_column(train.column_names.index("time"), "time", pa.array(time))
    )


def copied_truth(data: Dataset, share: float) -> Dataset:
    """A share of the test events (one at least) stands in train too, at the time of the query."""
    queries, truth = data.queries("test"), data.truth("test").items
    n = max(1, round(share * len(truth.values)))
    rows = truth.rows[:n]
    copies = {
        "user": queries.user[rows], "item": truth.values[:n],
        "ordinal": np.arange(n) + 10**6, "time": queries.time[rows],
    }  # fmt: skip
    train = data.train
    nothing = {
        name: pa.nulls(n, train.schema.field(name).type)
        for name in train.column_names
        if name not in copies
    }
    more = pa.table({**{name: pa.array(column) for name, column in copies.items()}, **nothing})
    more = more.select(train.column_names).cast(train.schema)
    return changed(data, train=pa.concat_tables([train, more]))


def late_history(data: Dataset, share: float) -> Dataset:
    """A share of the queries (one at least) has a history whose last event is an hour after the
    query."""
    table, queries = data.table("queries/test.parquet"), data.queries("test")
    rows = np.flatnonzero(queries.history.lengths > 0)
    times = table["history_times"].to_pylist()
    for row in rows[: max(1, round(share * len(rows)))]:
        times[row][-1] = int(queries.time[row]) + 3600
    place = table.column_names.index("history_times")
    return changed(
        data,
        queries=table.set_column(place, "history_times", pa.array(times, pa.list_(pa.int64()))),
    )


LEAKS: dict[str, tuple[str, Callable[[Dataset, float], Dataset], str]] = {
    "train after the boundary": ("temporal", late_events, "train events are not earlier than"),
    "train after the boundary of a window": (
        "rolling",
        late_events,
        "train events are not earlier than",
    ),
    "test events copied into train": (
        "temporal",
        copied_truth,
        "both in train and among the relevant items",
    ),
    "last events copied into train": (
        "leave_last",
        copied_truth,
        "both in train and among the relevant items",
    ),
    "history from after the query": (
        "temporal",
        late_history,
        "histories of test queries are later",
    ),
    "history from after the last event": (
        "leave_last",
        late_history,
        "histories of test queries are later",
    ),
}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("kind", LEAKS)
def test_planted_leaks_of_any_size_are_found(kind: str, share: float, tmp_path: Path) -> None:
    split, plant, message = LEAKS[kind]
    data = plant(shop_of(tmp_path, split, 1), share)
    assert message in "\n".join(leaks(data))


def test_a_user_s_own_future_is_found(tmp_path: Path) -> None:
    data = shop_of(tmp_path, "leave_last", 0)
    queries = data.queries("test")
    place = int(np.flatnonzero(data.train_column("user") == queries.user[0])[0])
    time = data.train_column("time").copy()
    time[place] = queries.time[0] + 1
    column = data.train.column_names.index("time")
    data = changed(data, train=data.train.set_column(column, "time", pa.array(time)))
    assert "1 train events are later than their user's test query" in warned(data)


def test_held_out_users_with_events_in_train_are_found(tmp_path: Path) -> None:
    data = shop_of(tmp_path, "held_out_users", 0)
    table = data.table("queries/test.parquet")
    users = table["user"].to_numpy().copy()
    users[0] = data.train_column("user")[0]
    data = changed(
        data, queries=table.set_column(table.column_names.index("user"), "user", pa.array(users))
    )
    assert "are of users that the split held_out_users says are not in train" in warned(data)


@pytest.mark.parametrize("has_time", [True, False])
def test_duplicates_are_found_without_times_where_nobody_repeats(
    has_time: bool, tmp_path: Path
) -> None:
    train = [(user, item, 0) for user in range(6) for item in range(4)]
    test = [(user, [0, 1, 2, 3], [4 + user % 2]) for user in range(6)]
    options: dict[str, Any] = {
        "n_users": 6,
        "n_items": 6,
        "views": ("novel",),
        "has_time": has_time,
    }
    clean = write_dataset(tmp_path / "clean", train=train, folds={"test": test}, **options)
    assert leaks(clean) == []
    test[2] = (2, [0, 1, 2, 3], [3])
    both = write_dataset(tmp_path / "both", train=train, folds={"test": test}, **options)
    assert "1 events are both in train and among the relevant items" in warned(both)
    assert "1 relevant items of test queries stand in the query's own history" in warned(both)


def test_repeats_are_no_leak_where_people_repeat(tmp_path: Path) -> None:
    train = [(user, item, day) for user in range(6) for item in range(3) for day in (0, 1)]
    test = [(user, [0, 1, 2], [0, 1]) for user in range(6)]
    data = write_dataset(
        tmp_path / "d",
        train=sorted(train, key=lambda e: e[2]),
        n_users=6,
        n_items=3,
        folds={"test": test},
    )
    assert leaks(claims(data, "temporal")) == []
    novel_only = with_card(data, split=data.card.split.model_copy(update={"views": ("novel",)}))
    assert leaks(novel_only) == []


def with_event_feature(
    root: Path, make: Callable[[np.ndarray, np.random.Generator], np.ndarray], kind: Any
) -> Dataset:
    """Six hundred events of forty items with ratings, and an event feature made of (item,
    rating)."""
    rng = np.random.default_rng(0)
    train = [(int(rng.integers(30)), int(rng.zipf(1.5) % 40), day // 20) for day in range(600)]
    data = write_dataset(root, train=train, n_users=30, n_items=40, folds={"test": [(0, [1], [2])]})
    rating = rng.integers(1, 6, 600).astype(np.float32)
    values = make(np.stack([data.train_column("item"), rating]), rng)
    table = data.train.append_column("rating", pa.array(rating)).append_column(
        "x", pa.array(values)
    )
    cardinality = int(values.max()) + 1 if kind == "categorical" else None
    feature = Feature(name="x", table="event", kind=kind, cardinality=cardinality)
    return changed(with_card(data, features=(feature,)), train=table)


INT, FLOAT = np.int32, np.float32
TELLING: dict[str, tuple[Any, str | None]] = {
    "copy of the rating": (lambda t, rng: t[1].astype(FLOAT), "rating"),
    "scaled copy of the rating": (lambda t, rng: (t[1] / 7 - 3).astype(FLOAT), "rating"),
    "rating with a little noise": (
        lambda t, rng: (t[1] + rng.normal(0, 0.01, 600)).astype(FLOAT),
        "rating",
    ),
    "rating, known for a tenth of the rows": (
        lambda t, rng: np.where(rng.random(600) < 0.1, t[1] - 1, -1).astype(INT),
        "rating",
    ),
    "permuted ids of the item": (
        lambda t, rng: rng.permutation(40)[t[0].astype(int)].astype(INT),
        "item",
    ),
    "the item as a number": (lambda t, rng: (t[0] * 0.5).astype(FLOAT), "item"),
    "rating, wrong in two rows of a hundred": (
        lambda t, rng: np.where(rng.random(600) < 0.02, 2, t[1]).astype(INT),
        "rating",
    ),
    "chance": (lambda t, rng: rng.integers(0, 5, 600).astype(INT), None),
    "many random categories": (lambda t, rng: rng.integers(0, 300, 600).astype(INT), None),
    "random numbers": (lambda t, rng: rng.random(600).astype(FLOAT), None),
    "a number of each row": (lambda t, rng: np.arange(600).astype(INT), None),
    "the item's department": (lambda t, rng: (t[0] % 5).astype(INT), None),
    "a hint of the rating": (lambda t, rng: (t[1] + rng.normal(0, 1, 600)).astype(FLOAT), None),
    "one value for all": (lambda t, rng: np.zeros(600, np.int32), None),
    "nothing known": (lambda t, rng: np.full(600, -1, np.int32), None),
}


@pytest.mark.parametrize("case", TELLING)
def test_features_that_tell_the_target_are_found_and_others_are_not(
    case: str, tmp_path: Path
) -> None:
    make, target = TELLING[case]
    made = make(np.ones((2, 600)), np.random.default_rng(0))
    kind = "categorical" if made.dtype == INT else "continuous"
    found = leaks(with_event_feature(tmp_path / "d", make, kind))
    assert [f"event feature x tells the {target}" in text for text in found] == [True] * (
        target is not None
    )


def test_a_target_that_is_nearly_always_the_same_is_nothing_to_tell() -> None:
    codes, targets = np.arange(200) % 4, np.zeros(200, np.int64)
    targets[:5] = 1
    assert tell_tale.told(codes, targets) is None


def test_a_row_is_told_by_others_only_where_they_outvote_the_next_target_without_it() -> None:
    """94 rows of pure values and 6 of values with two against one: the two are one against one,
    once the row itself is left out, so that 94 % and not 98 % is told."""
    codes = np.concatenate([np.repeat([0, 1], 47), np.repeat([2, 3], 3)])
    targets = np.concatenate([np.repeat([0, 1], 47), [2, 2, 3], [4, 4, 5]])
    assert tell_tale.told(codes, targets) is None
    assert tell_tale.told(codes[:97], targets[:97]) == pytest.approx(94 / 97)


def test_sets_of_targets_are_told_only_by_what_all_of_them_hold() -> None:
    rng = np.random.default_rng(0)
    row = np.repeat(np.arange(200), 6)
    chosen = rng.integers(0, 400, 1200)
    noise = rng.integers(0, 20, 200)
    assert tell_tale.told(noise[row], chosen, row=row) is None
    leaking = chosen.copy()
    leaking[::6] = 500 + noise
    assert tell_tale.told(noise[row], leaking, row=row) == 1.0


def test_sampled_metrics_and_long_cut_offs_are_told(tmp_path: Path) -> None:
    test = [(0, [0], [1]), (1, [1], [2])]
    data = write_dataset(
        tmp_path / "d", train=[(0, 0, 0), (1, 1, 1)], n_users=2, n_items=4, folds={"test": test},
        candidates={"test": [[1, 2, 3], [0, 2, 3]]},
    )  # fmt: skip
    assert "sampled" not in warned(data)
    sampled = with_card(data, split=data.card.split.model_copy(update={"sampled": True}))
    assert "sampled metrics: each query ranks 3 given candidates, not the catalogue of 4" in warned(
        sampled
    )
    assert "k = 5, 9 is greater than the catalogue of 4 items" in warned(data, k=(1, 5, 9))
    assert "catalogue" not in warned(data, k=(1, 4))


def test_a_feature_that_tells_the_target_is_found_in_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tell_tale, "MOST_ROWS", 200)
    data = with_event_feature(tmp_path / "d", TELLING["copy of the rating"][0], "continuous")
    parts = data.train
    write_table(data.path, "train/part-00000.parquet", parts.slice(0, 250))
    write_table(data.path, "train/part-00001.parquet", parts.slice(250))
    write_card(data.path, data.card.model_copy(update={"content": checksums(data.path)}))
    [text] = leaks(Dataset.open(data.path))
    assert "event feature x tells the rating in 100.0% of the rows" in text


def test_a_run_that_was_selected_on_test_is_refused() -> None:
    with pytest.raises(ArtifactError, match="run-7: was selected by a metric on fold test"):
        reads.refuse_tuned_on({"selected_on": "test"}, "run-7", "test")
    assert reads.refuse_tuned_on({"selected_on": "valid"}, "run-7", "test") == ()
    assert reads.refuse_tuned_on({}, "run-7", "test") == ()
    assert "flatter" in reads.refuse_tuned_on({"selected_on": "valid"}, "run-7", "valid")[0]


def test_reads_of_the_test_fold_are_counted_by_dataset(tmp_path: Path) -> None:
    looks = (("d1", "ease"), ("d1", "als"), ("d2", "ease"), ("d1", "ease"))
    found = [reads.note_read(tmp_path, dataset, lists) for dataset, lists in looks]
    assert [(one.times, one.lists) for one in found] == [(1, 1), (2, 2), (1, 1), (3, 2)]
    assert json.loads((tmp_path / reads.READS).read_text().splitlines()[0])["lists"] == "ease"
    (tmp_path / reads.READS).write_text("no json\n")
    with pytest.raises(ArtifactError, match=r"test-reads.jsonl: damaged .*move it away"):
        reads.note_read(tmp_path, "d1", "ease")


def test_a_dataset_without_queries_or_times_is_checked_all_the_same(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": [(0, 1, 0)], "n_users": 1, "n_items": 2}
    empty = write_dataset(tmp_path / "empty", folds={"test": []}, **options)
    assert warned(claims(empty, "temporal"), k=(1,)) == ""
    timeless = write_dataset(
        tmp_path / "t", folds={"test": [(0, [1], [0])]}, has_time=False, **options
    )
    assert warned(claims(timeless, "leave_last"), k=(1,)) == ""


def test_planting_changes_what_it_says(tmp_path: Path) -> None:
    data = shop_of(tmp_path, "temporal", 0)
    before = pl.DataFrame(data.train)
    after = pl.DataFrame(copied_truth(data, 0.0).train)
    assert len(after) == len(before) + 1
