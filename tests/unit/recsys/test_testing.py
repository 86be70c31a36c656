"""The kit passes what is right, and each check finds its planted fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.models.registry import Model
from falconer.recsys.models.ease import on_numpy as ease
from falconer.recsys.models.ease.config import EaseConfig
from falconer.recsys.testing import CHECKS, check_model


class FaultyConfig(EaseConfig):
    """EASE that ignores the order, with one fault."""

    order_aware = False
    fault: str = ""


class Faulty(ease.EaseScorer):
    fault = ""

    def score(self, queries: Queries) -> np.ndarray:
        scores = super().score(queries)
        if self.fault == "least popular first":
            scores += np.where(queries.history.lengths == 0, 1, 0)[:, None] * np.arange(
                scores.shape[1], dtype=np.float32
            )
        if self.fault == "batch":
            scores += np.float32(len(queries))
        if self.fault == "user":
            scores += queries.user[:, None].astype(np.float32)
        if self.fault == "nan" and len(queries):
            scores[0, 0] = np.nan
        if self.fault == "float64":
            return scores.astype(np.float64)
        if self.fault == "worst first":
            return np.where(np.isfinite(scores), -scores, scores)
        return scores


def made(config: FaultyConfig, weights: Any, n_items: int) -> Faulty:
    scorer = Faulty(weights, 0.7 if config.fault == "order" else 1.0, n_items)
    scorer.fault = config.fault
    return scorer


def train(config: FaultyConfig, data: Dataset, run: Any) -> Faulty:
    weights = ease.train(config, data, run)._weights
    if config.fault == "random":
        weights = weights + np.random.default_rng().normal(size=weights.shape) * 1e-6
    return made(config, weights.astype(np.float32), data.n_items)


def load(directory: Path, config: FaultyConfig, data: Dataset) -> Faulty:
    weights = ease.load(directory, config, data)._weights
    return made(config, weights * np.float32(2 if config.fault == "lossy" else 1), data.n_items)


MODEL = Model(FaultyConfig, {"numpy": __name__})
NAME = f"{__name__}:MODEL"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("least popular first", "an empty history"),
        ("batch", "do not depend on the batch"),
        ("user", "an unknown user"),
        ("nan", "scores are finite"),
        ("float64", "scores are finite"),
        ("worst first", "the checkerboard"),
        ("order", "order matter as declared"),
        ("random", "training again"),
        ("lossy", "scores as the trained one"),
    ],
)
def test_a_fault_is_found(fault: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=found):
        check_model(NAME, tmp_path, knobs={"l2": 10.0, "fault": fault})


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        (NAME, {"l2": 10.0}),
        ("item_knn", {"decay": 0.7}),
        ("personal_popularity", {}),
        ("tifu_knn", {}),
    ],
)
def test_a_model_without_a_fault_passes(name: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    check_model(name, tmp_path, knobs=knobs)
    assert len(CHECKS) == 12


def test_a_model_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="makes no lists"):
        check_model("label_mean", tmp_path)
