"""Where a check of labels begins to speak, on numbers made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from falconer.pipelines.data.schema import Feature
from falconer.recsys.judging.labels import checks
from falconer.recsys.judging.labels.judge import by_unit


class OfFeatures:
    """A check's view of categorical event features that were made by hand."""

    fold = "test"

    def __init__(
        self,
        label: np.ndarray,
        values: dict[str, tuple[np.ndarray, np.ndarray]],
        target: str = "binary",
    ) -> None:
        self.labels = (label.astype(np.float64), label.astype(np.float64))
        self._values = values
        features = [
            Feature(name=name, table="event", kind="categorical", cardinality=10) for name in values
        ]
        self.data = SimpleNamespace(card=SimpleNamespace(target=target, features=features))

    def values(self, feature: Feature) -> tuple[np.ndarray, np.ndarray]:
        return self._values[feature.name]


def flipped(label: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The label, wrong in this share of both classes."""
    found = label.copy()
    for one in (0, 1):
        rows = np.flatnonzero(label == one)
        wrong = np.random.default_rng(seed + one).permutation(rows)[: round(share * len(rows))]
        found[wrong] = 1 - one
    return found


def test_a_feature_is_asked_about_by_what_the_best_ordinary_one_leaves() -> None:
    """0.88 beside an honest feature of 0.80, and one that misleads, so that all together tell less:
    0.12 is more than half of the 0.20 that the honest one leaves. Beside the misleading one alone
    it is less than half of 0.5."""
    label = np.repeat([0, 1], 500)
    suspect, honest = flipped(label, 0.12, 0), flipped(label, 0.20, 7)
    misleading = (label, 1 - label)
    given = {"s": (suspect, suspect), "h": (honest, honest), "m": misleading}
    assert list(checks.target_in_features(OfFeatures(label, given))) == []  # type: ignore[arg-type]
    given.pop("h")
    (found,) = checks.target_in_features(OfFeatures(label, given))  # type: ignore[arg-type]
    assert "event feature s alone reaches an AUC of 0.8800" in found


@pytest.mark.parametrize("target", ["binary", "rating"])
def test_what_ordinary_features_tell_together_is_what_the_sum_of_their_means_tells(
    target: str,
) -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 10, (2, 2000))
    label = first + second + random.normal(scale=3, size=2000)
    suspect = np.argsort(np.argsort(label)) // 200  # the label's own tenths
    if target == "binary":
        label = (label > label.mean()).astype(float)
        suspect = flipped(label.astype(int), 0.05, 0)
    given = {name: (one, one) for name, one in (("a", first), ("b", second), ("s", suspect))}
    means = [label[one == code].mean() for one in (first, second) for code in range(10)]
    together = np.array(means)[first] + np.array(means)[10 + second] - label.mean()
    told = roc_auc_score if target == "binary" else r2_score
    (found,) = checks.target_in_features(OfFeatures(label, given, target))  # type: ignore[arg-type]
    assert found.startswith("possible leakage: event feature s alone")
    assert f"all ordinary features together {told(label, together):.4f}" in found


@pytest.mark.parametrize(("both", "found"), [(5, 0), (6, 1)])
def test_five_rows_in_common_are_chance_where_train_repeats_nothing(
    both: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, rows = np.arange(1000), np.concatenate([np.arange(both), np.arange(5000, 5100)])
    monkeypatch.setattr(checks, "_hashes", lambda checked: (train, rows))
    assert len(list(checks.rows_in_train(SimpleNamespace(fold="test")))) == found  # type: ignore[arg-type]


def test_a_quantile_is_a_range_of_its_own_and_nothing_known_is_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "CUTS", [0.5])
    train, values = checks._ranges(
        np.array([1.0, 2.0, 3.0, np.nan]), np.array([0.0, 2.0, 2.5, np.nan])
    )
    assert train.tolist() == [0, 1, 2, -1]
    assert values.tolist() == [0, 1, 2, -1]
    for column in checks._ranges(np.array([np.nan]), np.array([np.nan])):
        assert column.tolist() == [-1]


def test_a_category_that_train_lacks_has_the_mean_of_all() -> None:
    means = checks._means(np.array([0, 0, 2]), np.array([0, 1, 2, 3]), np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(means, [0.5, 2 / 3, 1.0, 2 / 3])


def test_unknown_ids_have_no_value() -> None:
    ids = np.array([1, -1, 0], np.int32)
    assert checks._looked_up(np.array([7, 8], np.int32), ids).tolist() == [8, -1, 7]
    np.testing.assert_array_equal(checks._looked_up(np.array([0.5, 1.5]), ids), [1.5, np.nan, 0.5])
    assert checks._looked_up(np.empty(0, np.int32), ids).tolist() == [-1, -1, -1]


def of_times(protocol: str, train: list[int], rows: list[int]) -> Any:
    split = SimpleNamespace(protocol=protocol)
    data = SimpleNamespace(
        card=SimpleNamespace(split=split), train_column=lambda name: np.array(train)
    )
    queries = SimpleNamespace(time=np.array(rows))
    return SimpleNamespace(data=data, fold="test", pairs=SimpleNamespace(queries=queries))


@pytest.mark.parametrize("protocol", ["temporal", "rolling"])
def test_a_train_row_of_the_first_row_s_second_is_late(protocol: str) -> None:
    assert list(checks.train_after_rows(of_times(protocol, [1, 4], [5, 6]))) == []
    (found,) = checks.train_after_rows(of_times(protocol, [1, 5, 9], [5, 6]))
    assert found.startswith("leakage: 2 train rows are not earlier than the first row")


def test_the_share_of_rows_before_the_last_train_row_is_told() -> None:
    assert list(checks.train_after_rows(of_times("random", [1, 4], [5, 6]))) == []
    (found,) = checks.train_after_rows(of_times("random", [1, 5], [5, 6, 4, 9]))
    assert "no global time in this protocol: 50% of the rows" in found
    assert list(checks.train_after_rows(of_times("random", [1], []))) == []


def test_a_unit_adds_the_distances_of_its_rows_from_the_mean() -> None:
    """Mean 2/3; unit 0 is above it with both of its rows, unit 1 has none, unit 2 is below."""
    found = by_unit(np.array([1.0, 1.0, 0.0]), np.array([0, 0, 2]), 3)
    np.testing.assert_allclose(found, [4 / 3, 2 / 3, 0], atol=1e-12)
