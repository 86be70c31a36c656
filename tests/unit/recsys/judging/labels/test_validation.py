"""Validation on labelled rows, and the bins of reliability."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card
from falconer.pipelines.data.queries import Pairs
from falconer.recsys.judging.labels.judge import reliability
from falconer.recsys.judging.lists.validation import LabelValidation
from tests.support.datasets import write_labels_dataset


@dataclass
class Answers:
    """Scores, whatever is asked."""

    values: np.ndarray

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        assert len(pairs.item) == len(self.values)
        return self.values.astype(np.float32)

    def save(self, directory: Path) -> None:
        raise NotImplementedError


def test_clicks_are_validated_by_their_order(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks", n_rows=300)
    found = LabelValidation(data)
    assert found.selection == {"monitor": "roc_auc", "mode": "max"}
    label = data.labels("valid")
    assert found.n_queries == len(label) > 0
    assert found(Answers(0.1 + 0.8 * label))["roc_auc"] == 1.0
    assert found(Answers(0.9 - 0.8 * label))["roc_auc"] == 0.0


def test_ratings_are_validated_by_their_errors(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "ratings", n_rows=300, target="rating")
    found = LabelValidation(data)
    assert found.selection == {"monitor": "rmse", "mode": "min"}
    assert found(Answers(data.labels("valid") + 0.5)) == {"rmse": pytest.approx(0.5, abs=1e-6)}


def test_without_the_fold_there_are_no_metrics(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks", n_rows=300)
    for path in data.path.glob("*/valid.parquet"):
        path.unlink()
    write_card(data.path, data.card.model_copy(update={"content": checksums(data.path)}))
    found = LabelValidation(Dataset.open(data.path))
    assert found.n_queries == 0
    assert found(Answers(np.empty(0))) == {}


def test_bins_of_reliability_hold_means_of_their_rows() -> None:
    label = np.array([0.0, 1.0, 1.0, 1.0])
    score = np.array([0.12, 0.18, 0.92, 0.98])
    low, high = reliability(label, score)
    assert (low.n, low.score, low.label) == (2, pytest.approx(0.15), 0.5)
    assert (high.n, high.score, high.label) == (2, pytest.approx(0.95), 1.0)
