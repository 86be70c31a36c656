"""Judging in blocks: the same values to the last bit however few queries are read together, from
memory or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.data.schema import Feature, View
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.recsys.judging import slices
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as evaluation
from falconer.recsys.judging.lists import per_query as judged
from falconer.recsys.judging.lists import relevance
from falconer.recsys.judging.lists.per_query import JudgedLists, PerQuery
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.lists.stored import Lists
from falconer.recsys.metrics import BEYOND_METRICS, LIST_METRICS, METRICS
from tests.support.datasets import write_dataset
from tests.support.judging import judge_lists as judge

N, N_ITEMS = 60, 12
CONFIG = EvaluationConfig(
    k=(1, 5), resamples=100, metrics=(*METRICS, *BEYOND_METRICS, *LIST_METRICS)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Queries with and without history and truth, in two row groups, and a categorical item
    feature."""
    rng = np.random.default_rng(0)
    rows = [
        (
            user if user % 4 else -1,
            rng.choice(N_ITEMS, rng.integers(0, 8)).tolist(),
            rng.choice(N_ITEMS, rng.integers(0, 5), False).tolist(),
        )
        for user in range(N)
    ]
    train = [
        (abs(user), item, day)
        for day, (user, history, _) in enumerate(rows)
        for item in [*history, 0]
    ]
    root = tmp_path_factory.mktemp("blocks") / "data"
    data = write_dataset(root, train=train, n_users=N, n_items=N_ITEMS, folds={"test": rows})
    items = data.items.append_column("kind", [np.arange(N_ITEMS, dtype=np.int32) % 3])
    write_table(root, "items.parquet", items)
    for name in ("queries/test.parquet", "truth/test.parquet"):
        pq.write_table(data.table(name).combine_chunks(), root / "copy", row_group_size=17)
        (root / "copy").replace(root / name)
    features = (Feature(name="kind", table="item", kind="categorical", cardinality=3),)
    write_card(
        root, data.card.model_copy(update={"features": features, "content": checksums(root)})
    )
    return Dataset.open(root)


@pytest.fixture(scope="module")
def lists() -> Lists:
    rng = np.random.default_rng(1)
    items = np.array([rng.permutation(N_ITEMS)[:5] for _ in range(N)], np.int32)
    items[np.arange(5) >= rng.integers(0, 6, N)[:, None]] = -1
    return Lists(items, (items >= 0).any(axis=1))


def judged_with(data: Dataset, lists: Lists, view: View, **more: object) -> JudgedLists:
    chosen = slices.slicings(data, "test")
    return judge(
        lists, data, fold="test", view=view, label="x", config=CONFIG, slicings=chosen, **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("view", ["all", "repeat", "novel"])
@pytest.mark.parametrize("size", [1, 7, 59])
def test_the_size_of_blocks_is_irrelevant_to_the_last_bit(
    data: Dataset, lists: Lists, view: View, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judged_with(data, lists, view)
    for module in (evaluation, relevance, slices):
        monkeypatch.setattr(module, "QUERIES_AT_ONCE", size)
    monkeypatch.setattr(judged, "ROWS_AT_ONCE", size)
    parts = judged_with(data, lists, view)
    assert parts.per_query.table().equals(whole.per_query.table()) or _same(
        parts.per_query, whole.per_query
    )
    assert parts.report.slices == whole.report.slices
    for name, estimate in whole.report.metrics.items():
        if name.startswith("popularity_lift"):
            assert parts.report.metrics[name].mean == pytest.approx(
                estimate.mean, rel=1e-12, abs=1e-12
            )
        else:
            assert parts.report.metrics[name] == estimate, name
    plain = {"metrics", "slices"}
    assert parts.report.model_dump(exclude=plain) == whole.report.model_dump(exclude=plain)


def _same(first: PerQuery, second: PerQuery) -> bool:
    assert first.column_names == second.column_names
    return first.evaluated(*first.values).tobytes() == second.evaluated(*second.values).tobytes()


def test_lists_from_a_file_are_judged_into_a_file_as_lists_in_memory(
    data: Dataset, lists: Lists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, place = np.nonzero(lists.items >= 0)
    keys, items = data.query_keys("test"), data.items.column("key").combine_chunks()
    table = pa.table(
        {"user": keys.take(row), "item": items.take(lists.items[row, place]), "rank": place}
    )
    expected = judged_with(data, lists, "all")
    monkeypatch.setattr("falconer.recsys.lists.stored.QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(recommendations, "ROWS_AT_ONCE", 20)
    for number, order in enumerate(
        [np.arange(len(table)), np.random.default_rng(2).permutation(len(table))]
    ):
        path, out = tmp_path / f"{number}.parquet", tmp_path / f"{number}-values.parquet"
        pq.write_table(table.take(order), path, row_group_size=10)
        with recommendations.stored(path, user_keys=keys, item_keys=items, k=5) as stored:
            found = judged_with(data, stored, "all", table=out)  # type: ignore[arg-type]
        assert found.report == expected.report
        assert _same(PerQuery(out), expected.per_query)


def test_a_fold_without_queries_is_refused_in_words(tmp_path: Path) -> None:
    empty = write_dataset(
        tmp_path / "data", train=[(0, 0, 0)], n_users=1, n_items=2, folds={"test": []}
    )
    nothing = Lists(np.empty((0, 3), np.int32), np.empty(0, np.bool_))
    with pytest.raises(DataError, match="no query of fold test has a relevant item"):
        judge(nothing, empty, fold="test", view="all", label="x", config=EvaluationConfig(k=(1,)))
    assert not relevance.has_relevant(empty, "test", "all")


def test_a_damaged_table_of_values_is_named(data: Dataset, lists: Lists, tmp_path: Path) -> None:
    evaluation.write(tmp_path, judged_with(data, lists, "all"))
    path = tmp_path / "per_query.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"per_query.parquet: damaged report"):
        evaluation.read(tmp_path).values("ndcg@5")


def test_a_value_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "per_query.parquet"
    values = np.random.default_rng(0).random(1000)
    with judged.per_query_writer(path) as write:
        write({"n_relevant": np.ones(1000, np.int64), "ndcg@10": values})
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[start + column.total_compressed_size - 20] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"per_query\.parquet: damaged report"):
        PerQuery(path).evaluated("ndcg@10")
