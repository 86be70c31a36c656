from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError, PipelineError
from falconer.pipelines.statistics.bounded import share_interval
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as evaluation
from falconer.recsys.judging.lists import relevance
from falconer.recsys.judging.lists.per_query import JudgedLists
from falconer.recsys.judging.lists.relevance import found_in
from falconer.recsys.judging.stored import remove_reports
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.lists.stored import Lists
from tests.support.datasets import write_dataset
from tests.support.judging import judge_lists as judge

N_ITEMS = 10
CONFIG = EvaluationConfig(k=(2, 5), resamples=100)
VIEWS: tuple[View, ...] = ("all", "repeat", "novel")


def dataset(root: Path, *, seed: int = 0, n: int = 40) -> Dataset:
    """Users with random histories (empty ones among them) and random truths (empty ones among
    them)."""
    rng = np.random.default_rng(seed)
    rows = [
        (
            user,
            rng.choice(N_ITEMS, rng.integers(0, 8)).tolist(),
            rng.choice(N_ITEMS, rng.integers(0, 5), False).tolist(),
        )
        for user in range(n)
    ]
    train = [
        (user, item, day) for day, (user, history, _) in enumerate(rows) for item in [*history, 0]
    ]
    return write_dataset(root, train=train, n_users=n, n_items=N_ITEMS, folds={"test": rows})


def random_lists(data: Dataset, *, seed: int = 1, k: int = 5) -> Lists:
    """Lists of any length, some absent, some with a place that holds no item."""
    rng = np.random.default_rng(seed)
    n = len(data.queries("test"))
    items = np.array([rng.permutation(data.n_items)[:k] for _ in range(n)], np.int32)
    items[np.arange(k) >= rng.integers(0, k + 1, n)[:, None]] = -1
    items[rng.random(items.shape) < 0.1] = -1
    return Lists(items, rng.random(n) < 0.9)


@pytest.mark.parametrize("view", VIEWS)
def test_a_report_is_what_plain_python_finds(tmp_path: Path, view: View) -> None:
    data = dataset(tmp_path / "data")
    lists = random_lists(data)
    judged = judge(lists, data, fold="test", view=view, label="random", config=CONFIG)
    queries, truth = data.queries("test"), data.truth("test")
    recalls, ndcgs, counts, without = [], [], [], 0
    for row, listed in enumerate(lists.items.tolist()):
        past, relevant = set(queries.history[row].tolist()), set(truth.items[row].tolist())
        relevant = {"all": relevant, "repeat": relevant & past, "novel": relevant - past}[view]
        counts.append(len(relevant))
        if relevant:
            hits = [item in relevant for item in listed[:5]]
            ideal = sum(1 / math.log2(place + 2) for place in range(min(5, len(relevant))))
            recalls.append(sum(hits) / len(relevant))
            ndcgs.append(sum(hit / math.log2(place + 2) for place, hit in enumerate(hits)) / ideal)
            without += not lists.listed[row]
    report = judged.report
    assert report.metrics["recall@5"].mean == pytest.approx(np.mean(recalls), abs=1e-12)
    assert report.metrics["ndcg@5"].mean == pytest.approx(np.mean(ndcgs), abs=1e-12)
    assert (
        report.metrics["coverage@5"].mean == len(set(lists.items.ravel().tolist()) - {-1}) / N_ITEMS
    )
    assert report.metrics["coverage@5"].low is None
    assert (report.n_queries, report.n_evaluated, report.n_relevant) == (
        40,
        len(recalls),
        sum(counts),
    )
    assert 0 < report.n_evaluated < 40
    assert report.n_without_list == without
    assert judged.per_query.table("n_relevant")["n_relevant"].to_pylist() == counts
    np.testing.assert_allclose(judged.values("ndcg@5"), ndcgs, atol=1e-12)
    assert np.isnan(judged.per_query.table("recall@5")["recall@5"].to_numpy()).sum() == 40 - len(
        recalls
    )


def test_perfect_lists_have_one_in_every_view(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    for view in VIEWS:
        truth = relevance.relevant(data.queries("test"), data.truth("test"), view, data.n_items)
        items = np.full((len(truth), 5), -1, np.int32)
        for row in range(len(truth)):
            items[row, : len(truth[row])] = truth[row]
        report = judge(
            Lists(items, np.ones(len(truth), np.bool_)),
            data,
            fold="test",
            view=view,
            label="oracle",
            config=CONFIG,
        ).report
        for name in ("capped_recall@2", "ndcg@2", "ndcg@5", "recall@5", "hit_rate@2"):
            estimate = report.metrics[name]
            exact = 0.025 ** (1 / report.n_evaluated)  # 40 queries and no mistake leave doubt
            assert (estimate.mean, estimate.low, estimate.high) == pytest.approx(
                (1, exact, 1), abs=1e-12
            )
        assert not any("history" in line for line in report.warnings)


def test_no_list_at_all_is_zero_and_counted(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    nothing = Lists(np.full((40, 5), -1, np.int32), np.zeros(40, np.bool_))
    report = judge(nothing, data, fold="test", view="all", label="none", config=CONFIG).report
    assert all(estimate.mean == 0 for estimate in report.metrics.values())
    assert report.metrics["recall@5"].high == pytest.approx(1 - 0.025 ** (1 / report.n_evaluated))
    assert report.n_without_list == report.n_evaluated


def test_items_that_the_view_does_not_rank_are_misses_and_told(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(0, 1, 0), (0, 2, 1)],
        n_users=1,
        n_items=5,
        folds={"test": [(0, [1, 2], [1, 3])]},
    )
    lists = Lists(np.array([[1, 3, 4]], np.int32), np.array([True]))

    def of(view: View) -> tuple[float, tuple[str, ...]]:
        report = judge(
            lists, data, fold="test", view=view, label="x", config=EvaluationConfig(k=(1, 3))
        ).report
        return report.metrics["recall@1"].mean, report.warnings

    assert of("all") == (0.5, ())
    assert of("repeat") == (
        1.0,
        ("2 listed items are not in the user's history: misses in view repeat",),
    )
    assert of("novel") == (0.0, ("1 listed items are in the user's history: misses in view novel",))


def test_the_first_item_counts_as_any_other_and_an_empty_place_as_none(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(0, 1, 0)],
        n_users=1,
        n_items=3,
        folds={"test": [(0, [1], [1])]},
    )
    lists = Lists(np.array([[0, 1, -1]], np.int32), np.array([True]))
    report = judge(lists, data, config=EvaluationConfig(k=(1,)), view="repeat").report
    assert report.warnings == (
        "1 listed items are not in the user's history: misses in view repeat",
    )


def test_a_view_without_a_relevant_item_is_refused(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(0, 1, 0)],
        n_users=1,
        n_items=3,
        folds={"test": [(0, [1], [2]), (-1, [], [0])]},
    )
    lists = Lists(np.zeros((2, 1), np.int32), np.ones(2, np.bool_))
    assert relevance.has_relevant(data, "test", "novel")
    assert not relevance.has_relevant(data, "test", "repeat")
    with pytest.raises(
        DataError, match="no query of fold test has a relevant item in view 'repeat'"
    ):
        judge(lists, data, fold="test", view="repeat", label="x", config=CONFIG)


def test_cut_offs_beyond_the_lists_are_told(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    config = EvaluationConfig(k=(2, 7, 50), resamples=100)
    report = judge(
        random_lists(data), data, fold="test", view="all", label="x", config=config
    ).report
    assert report.warnings == ("no list holds more than 5 items: figures at 7, 50 judge these",)


def test_one_query_and_short_lists_are_judged(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(0, 1, 0)],
        n_users=1,
        n_items=2,
        folds={"test": [(0, [1], [0, 1])]},
    )
    lists = Lists(np.array([[0]], np.int32), np.array([True]))
    metrics = judge(
        lists, data, fold="test", view="all", label="x", config=EvaluationConfig(k=(10,))
    ).report.metrics
    estimate = metrics["recall@10"]
    assert estimate.mean == 0.5
    assert (estimate.low, estimate.high) == share_interval(0.5, 1, level=0.95)
    assert metrics["capped_recall@10"].mean == 0.5
    assert metrics["precision@10"].mean == 0.1


def test_the_order_of_users_in_a_file_is_irrelevant(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    lists = random_lists(data)
    keys, items = data.query_keys("test"), data.items.column("key").combine_chunks()
    row, place = np.nonzero(lists.items >= 0)
    table = pa.table(
        {
            "user": keys.take(pa.array(row)),
            "item": items.take(lists.items[row, place]),
            "rank": place,
        }
    )
    reports = []
    for number, order in enumerate(
        (np.arange(len(table)), np.random.default_rng(0).permutation(len(table)))
    ):
        pq.write_table(table.take(order), tmp_path / f"{number}.parquet")
        read = recommendations.read(
            tmp_path / f"{number}.parquet", user_keys=keys, item_keys=items, k=5
        )
        reports.append(judge(read, data, fold="test", view="all", label="x", config=CONFIG).report)
    assert reports[0] == reports[1]


@given(
    st.lists(st.lists(st.integers(-1, 6), min_size=3, max_size=3), min_size=1, max_size=9),
    st.data(),
    st.sampled_from([1, 16, 2**20]),
)
def test_found_in_is_membership_in_blocks_of_any_size(
    items: list[list[int]], data: st.DataObject, size: int
) -> None:
    row = st.lists(st.integers(0, 6), max_size=5)
    rows = data.draw(st.lists(row, min_size=len(items), max_size=len(items)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relevance, "BITMAP_BYTES", size)
        found = found_in(np.array(items, np.int32), Ragged.of(rows), 7)
    assert found.tolist() == [
        [item in own for item in listed] for listed, own in zip(items, rows, strict=True)
    ]


def test_reports_come_back_as_written(tmp_path: Path) -> None:
    judged = judged_once(tmp_path)
    evaluation.write(tmp_path / "out", judged)
    again = evaluation.read(tmp_path / "out")
    assert again.report == judged.report
    assert again.per_query.table().to_pandas().equals(judged.per_query.table().to_pandas())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "per_query.parquet",
        "report.json",
    ]
    remove_reports(tmp_path / "out", evaluation.PER_QUERY)
    remove_reports(tmp_path / "out", evaluation.PER_QUERY)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report.json", "{", "report.json: damaged"),
        ("report.json", "[]", "format version None"),
        ("report.json", '{"format_version": 1}', "damaged report"),
        ("per_query.parquet", "PAR1", "damaged report"),
    ],
)
def test_damaged_reports_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    evaluation.write(tmp_path / "out", judged_once(tmp_path))
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(ArtifactError, match=message):
        evaluation.read(tmp_path / "out")


def test_a_metric_that_was_not_judged_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"x: has no 'ndcg@10' a query, only recall@2, recall@5"
    ):
        judged_once(tmp_path).values("ndcg@10")


def test_settings_are_checked() -> None:
    assert EvaluationConfig(k=(10, 5, 10)).k == (5, 10)
    with pytest.raises(ConfigError, match="4 mistakes"):
        parse(EvaluationConfig, {"k": [0], "resamples": 5, "level": 1.0, "sed": 1}, "settings")


def test_metrics_are_chosen_by_name(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    config = EvaluationConfig(k=(5,), resamples=100, metrics=("shannon", "auc", "ndcg"))
    judged = judge(random_lists(data), data, fold="test", view="all", label="x", config=config)
    assert list(judged.report.metrics) == ["ndcg@5", "auc@5", "shannon@5"]
    assert judged.report.metrics["shannon@5"].low is None
    with pytest.raises(ConfigError, match="unknown: ndgc; there are recall"):
        parse(EvaluationConfig, {"metrics": ["ndgc"]}, "settings")


def test_metrics_that_the_dataset_cannot_give_are_left_out_or_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    found = judge(
        random_lists(data), data, fold="test", view="all", label="x", config=CONFIG
    ).report.metrics
    assert {"novelty@5", "popularity_lift_niche@5"} < set(found)
    assert not any(name.startswith(("diversity", "miscalibration")) for name in found)
    for settings, message in (
        ({"metrics": ("diversity",)}, "no categorical item feature;"),
        ({"category": "x"}, "'x'"),
    ):
        config = EvaluationConfig(k=(5,), resamples=100, **settings)
        with pytest.raises(PipelineError, match=message):
            judge(random_lists(data), data, fold="test", view="all", label="x", config=config)


def test_a_metric_that_some_query_lacks_is_not_compared(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    judged = judge(random_lists(data), data, fold="test", view="all", label="x", config=CONFIG)
    with pytest.raises(ArtifactError, match=r"x: \d+ of \d+ queries have no novelty@5"):
        judged.values("novelty@5")


def judged_once(root: Path) -> JudgedLists:
    data = dataset(root / "data")
    return judge(random_lists(data), data, fold="test", view="all", label="x", config=CONFIG)
