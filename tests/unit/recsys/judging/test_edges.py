"""Edges of settings, runs' labels, predictions and parts of the rows, with known answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs
from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys.judging import compare
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.labels import predictions
from falconer.recsys.judging.labels import slices as groups
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.plugins import MetricPlugin
from tests.support.datasets import write_labels_dataset

FIRST = MetricPlugin(
    "query",
    Definition(
        lambda ranked, k: ranked.hits[:, 0].astype(float),
        "Whether the first is relevant.",
        formula="hit[1]",
        denominator="1",
        source="This test",
        better="higher",
    ),
)
KNOWN: dict[str, tuple[type[Any], str, list[Any], list[Any]]] = {
    "level": (EvaluationConfig, "level", [0.001, 0.5, 0.999], [0, 1, -0.5]),
    "resamples": (EvaluationConfig, "resamples", [100, 5000], [99, 0]),
    "seed": (EvaluationConfig, "seed", [0, 1], [-1]),
    "k": (EvaluationConfig, "k", [[1], [1, 2]], [[], [0], [0, 1]]),
    "users": (ComparisonConfig, "users", [0, 1, 1000], [-1, 1001]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_setting_s_first_and_last_value_is_taken_and_the_next_one_refused(name: str) -> None:
    kind, key, taken, refused = KNOWN[name]
    others = {"k": [5]} if kind is EvaluationConfig else {}
    for value in taken:
        assert parse(kind, {**others, key: value}, "settings")
    for value in refused:
        with pytest.raises(ConfigError, match=key):
            parse(kind, {**others, key: value}, "settings")


def test_chosen_metrics_stand_in_the_order_of_the_table_and_other_peoples_behind() -> None:
    other = f"{__name__}:FIRST"
    chosen = parse(EvaluationConfig, {"metrics": [other, "ndcg", other, "recall"]}, "settings")
    assert chosen.metrics == ("recall", "ndcg", other)


@pytest.mark.parametrize(
    ("knobs", "label"),
    [
        ((), "ease"),
        (("l2=1",), "ease (l2=1)"),
        (("l2=1", "decay=2"), "ease (l2=1, decay=2)"),
        (("l2=1", "decay=2", "seed=3"), "ease (l2=1, decay=2, 1 more)"),
    ],
)
def test_a_label_names_two_knobs_and_counts_the_rest(knobs: tuple[str, ...], label: str) -> None:
    report = SimpleNamespace(label="ease", knobs=knobs)
    assert compare._with_knobs(report) == label  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_labels_dataset(tmp_path_factory.mktemp("edges") / "clicks", n_rows=600)


class Numbering:
    """A scorer that remembers how many rows it was asked about at once."""

    def __init__(self) -> None:
        self.asked = list[int]()

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        self.asked.append(len(pairs))
        return pairs.item.astype(np.float32)


def test_rows_are_scored_in_blocks_and_come_out_in_their_order(
    clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = len(clicks.labels("test"))
    monkeypatch.setattr(predictions, "ROWS_AT_ONCE", 20)
    scorer = Numbering()
    path = tmp_path / predictions.FILE
    assert predictions.write(path, scorer, clicks, "test", {"run": "r"}) == n  # type: ignore[arg-type]
    assert scorer.asked == [20] * (n // 20) + ([n % 20] if n % 20 else [])
    assert predictions.about(path) == {"run": "r"}
    read = predictions.read(path, clicks, "test")
    np.testing.assert_array_equal(read, clicks.pairs("test").item)


@pytest.mark.parametrize("place", [0, -1], ids=["the first", "the last"])
def test_a_row_without_a_score_is_named_wherever_it_is(
    clicks: Dataset, tmp_path: Path, place: int
) -> None:
    ordinals = sorted(clicks.pair_ordinals("test").tolist())
    gone = ordinals.pop(place)
    path = tmp_path / "given.csv"
    path.write_text("ordinal,score\n" + "".join(f"{one},0.5\n" for one in ordinals))
    with pytest.raises(DataError, match=f"1 of the {len(ordinals) + 1} rows .*first row {gone};"):
        predictions.read(path, clicks, "test")


def test_a_part_of_thirty_rows_is_judged_and_one_of_twenty_nine_is_not(
    clicks: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = clicks.labels("test").astype(np.float64)
    rows = np.full(len(labels), 2, np.int32)
    rows[:30], rows[30:59] = 0, 1
    cut = groups.Slicing("part", "query", ("just", "under", "rest"), rows)
    monkeypatch.setattr(groups, "slicings", lambda data, fold: [cut])
    score = np.random.default_rng(0).random(len(labels))
    found = list(groups.judged("roc_auc", clicks, "test", labels, score, np.arange(len(labels))))
    assert [(one.name, one.n_rows) for one in found][:1] == [("just", 30)]
    assert "under" not in [one.name for one in found]


def test_a_feature_of_one_value_parts_nothing(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "data", n_rows=300, entities=False)
    one = {
        feature.name: np.zeros(len(data.labels("test")), np.int32)
        for feature in data.card.features
        if feature.kind == "categorical"
    }
    assert len(list(groups.slicings(data, "test"))) == len(one) == 3
    pairs = data.pairs("test")
    pairs.queries.features.update(one)  # type: ignore[attr-defined]
    data.pairs = lambda fold: pairs  # type: ignore[method-assign]
    assert list(groups.slicings(data, "test")) == []


def test_what_units_add_to_a_part_has_the_part_s_mean() -> None:
    """Units 0 and 2 have rows in the part, unit 1 has none."""
    values, codes = np.array([1.0, 0.0, 0.5]), np.array([0, 0, 2])
    found = groups._by_unit(values, codes, 3)
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.nanmean(found) == pytest.approx(values.mean())
    # each unit's sum of distances from the mean, over the mean number of rows of a unit
    np.testing.assert_allclose(found[[0, 2]], [0.5 + 0.0 * 2 / 3, 0.5 + 0.0 * 2 / 3])
    values, codes = np.array([1.0, 1.0, 0.0]), np.array([0, 0, 2])
    np.testing.assert_allclose(
        groups._by_unit(values, codes, 3)[[0, 2]], [2 / 3 + 2 / 3 * 2 / 3, 2 / 3 - 2 / 3 * 2 / 3]
    )


def test_no_part_has_no_estimate() -> None:
    assert groups.estimates([], EvaluationConfig()) == ()
