from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.data.schema import Feature
from falconer.recsys.judging import slices
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as evaluation
from falconer.recsys.lists.stored import Lists
from falconer.recsys.metrics.accuracy import recall
from falconer.recsys.metrics.ranked import Ranked
from tests.support.datasets import write_dataset
from tests.support.judging import judge_lists as judge


def groups_of(slicing: slices.Slicing) -> list[str]:
    return [slicing.groups[code] for code in slicing.codes]


def test_activity_is_cut_at_quartiles_and_no_history_stands_apart() -> None:
    lengths = [0, 1, 1, 2, 2, 3, 5, 8, 40]
    slicing = slices.activity(np.array(lengths))
    assert slicing.groups == ("0 events", "1 events", "2 events", "3 to 5 events", "8 to 40 events")
    assert groups_of(slicing)[0] == "0 events"
    assert groups_of(slicing)[-1] == "8 to 40 events"


@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 30)))
def test_activity_groups_are_spans_that_follow_each_other(lengths: np.ndarray) -> None:
    slicing = slices.activity(lengths)
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(slicing.codes[order]) >= 0).all()
    assert len(set(slicing.groups)) == len(slicing.groups) <= 5
    for length in set(lengths.tolist()):
        assert len(set(slicing.codes[lengths == length].tolist())) == 1


def test_popularity_groups_hold_the_promised_shares_of_events() -> None:
    counts = np.array([0, 50, 20, 10, 5, 5, 5, 5])
    assert groups_of(slices.popularity(counts)) == [
        "not in train", "head, half of all events", "middle, up to 80 %", "middle, up to 80 %",
        *["tail, the rest"] * 4,
    ]  # fmt: skip


@given(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 20)))
def test_items_of_one_popularity_are_in_one_group_and_more_popular_ones_before(
    counts: np.ndarray,
) -> None:
    codes = slices.popularity(counts).codes
    known = counts > 0
    order = np.argsort(-counts[known], kind="stable")
    assert (np.diff(codes[known][order]) >= 0).all()
    for count in set(counts.tolist()):
        assert len(set(codes[counts == count].tolist())) == 1


def test_new_users_are_those_outside_the_vocabulary() -> None:
    assert groups_of(slices.new_users(np.array([4, -1, 0], np.int32))) == [
        "known user",
        "new user",
        "known user",
    ]


RANKED = Ranked(
    items=np.array([[0, 1, 2], [2, 3, -1], [1, 0, 3]], np.int32),
    hits=np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], bool),
    n_relevant=np.array([3, 1, 0]),
)
RELEVANT = Ragged.of([[0, 2, 3], [3], []])


def test_a_slice_of_items_lets_only_its_own_be_relevant() -> None:
    slicing = slices.Slicing("kind", "item", ("even", "odd"), np.array([0, 1, 0, 1], np.int32))
    found = slices.columns("recall@3", recall, RANKED, RELEVANT, [slicing])
    assert list(found) == ["recall@3 where kind = even", "recall@3 where kind = odd"]
    even, odd = found.values()
    np.testing.assert_array_equal(even, [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(odd, [0.0, 1.0, np.nan])


def test_slices_of_queries_part_the_values_and_blocks_do_not_matter() -> None:
    slicing = slices.Slicing("age", "query", ("young", "old"), np.array([1, 0, 1], np.int32))
    whole = slices.columns("recall@3", recall, RANKED, RELEVANT, [slicing])
    young, old = whole.values()
    np.testing.assert_array_equal(young, [np.nan, 1.0, np.nan])
    np.testing.assert_allclose(old, [2 / 3, np.nan, np.nan])
    part = Ranked(RANKED.items[1:], RANKED.hits[1:], RANKED.n_relevant[1:])
    later = slices.columns("recall@3", recall, part, RELEVANT.slice(1, 3), [slicing], first=1)
    np.testing.assert_array_equal(later["recall@3 where age = young"], young[1:])


def test_names_of_columns_are_read_back() -> None:
    name = slices.column("ndcg@10", "genre of the chosen item", "Film = Noir where dark")
    assert slices.parse(name) == ("ndcg@10", "genre of the chosen item", "Film = Noir where dark")
    assert slices.is_slice(name)
    assert not slices.is_slice("ndcg@10")
    assert (slices.sliced_metric((1, 5, 20)), slices.sliced_metric((1, 10))) == (
        "ndcg@5",
        "ndcg@10",
    )


@pytest.fixture
def featured(tmp_path: Path) -> Dataset:
    """Three known users (two of one town, one of none) and a new one; items of two colours and one
    of none."""
    train = [(0, 0, 0), (0, 1, 1), (1, 0, 2), (2, 2, 3)]
    test = [(0, [0, 1], [2]), (1, [0], [1, 2]), (2, [2], [0]), (-1, [], [0])]
    data = write_dataset(
        tmp_path / "featured", train=train, n_users=3, n_items=3, folds={"test": test}
    )
    for name, column, ids in (("users", "town", [1, 1, -1]), ("items", "colour", [0, 1, -1])):
        table = data.table(f"{name}.parquet").append_column(column, [np.array(ids, np.int32)])
        write_table(data.path, f"{name}.parquet", table)
        values = ["Bern", "Ulm"] if column == "town" else ["red", "blue"]
        write_table(
            data.path,
            f"encoder/vocab-{column}.parquet",
            {"id": np.arange(2, dtype=np.int32), "value": values},
        )
    features = (
        Feature(name="town", table="user", kind="categorical", cardinality=2),
        Feature(name="colour", table="item", kind="categorical", cardinality=2),
    )
    write_card(
        data.path,
        data.card.model_copy(update={"features": features, "content": checksums(data.path)}),
    )
    return Dataset.open(data.path)


def test_every_categorical_feature_is_a_slicing_in_the_sources_own_words(featured: Dataset) -> None:
    found = {slicing.name: slicing for slicing in slices.slicings(featured, "test")}
    assert groups_of(found["town"]) == ["Ulm", "Ulm", "no value", "no value"]
    assert groups_of(found["colour of the chosen item"]) == ["red", "blue", "no value"]
    assert groups_of(found["user"]) == ["known user"] * 3 + ["new user"]
    assert groups_of(found["history length"]) == ["2 events", "1 events", "1 events", "0 events"]
    head, middle = "head, half of all events", "middle, up to 80 %"
    assert groups_of(found["popularity of the chosen item"]) == [head, middle, middle]
    assert set(found) == set(slices.names_of_slicings(featured))


def test_a_feature_of_many_categories_keeps_the_most_frequent(featured: Dataset) -> None:
    ids = np.repeat(np.arange(20), np.arange(20, 0, -1))
    feature = Feature(name="shelf", table="item", kind="categorical", cardinality=20)
    slicing = slices.by_category(featured, feature, "item", ids)
    assert slicing.groups == (*(f"bucket {n}" for n in range(8)), "all other values")


def test_a_report_holds_the_slices_and_they_add_up(featured: Dataset) -> None:
    lists = Lists(np.array([[2, 0], [1, 0], [1, 2], [0, 1]], np.int32), np.ones(4, np.bool_))
    config = EvaluationConfig(k=(2,), resamples=100)
    chosen = slices.slicings(featured, "test")
    judged = judge(
        lists, featured, fold="test", view="all", label="x", config=config, slicings=chosen
    )
    by_group = {(one.slicing, one.group): one for one in judged.report.slices}
    assert by_group["town", "Ulm"].n == 2
    assert by_group["user", "new user"].mean == 1.0
    assert by_group["colour of the chosen item", "blue"].n == 1
    total = sum(one.n * one.mean for one in judged.report.slices if one.slicing == "town")
    assert total == pytest.approx(4 * judged.report.metrics["ndcg@2"].mean)
    evaluation.write(featured.path.parent / "out", judged)
    assert evaluation.read(featured.path.parent / "out").report.slices == judged.report.slices


def test_the_first_category_counts_as_any_other(featured: Dataset) -> None:
    ids = np.repeat(np.arange(9), [9, 1, 1, 1, 1, 1, 1, 1, 1])
    feature = Feature(name="shelf", table="item", kind="categorical", cardinality=9)
    slicing = slices.by_category(featured, feature, "item", ids)
    assert slicing.groups[0] == "bucket 0"
