from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from falconer.pipelines.errors import ArtifactError, MissingExtraError
from falconer.recsys.backends.numpy.arrays import load_arrays
from falconer.recsys.backends.numpy.histories import pair_counts
from falconer.recsys.contracts import FactorScorer
from falconer.recsys.models import registry
from falconer.recsys.models.als import on_implicit
from falconer.recsys.models.als.config import AlsConfig
from tests.support import tiny
from tests.support.tiny import model, random_dataset

KNOBS = {"dim": 3, "alpha": 4.0, "l2": 0.5}


def test_a_query_is_folded_in_by_equation_4(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    scorer = model("als", data, tmp_path, **KNOBS)
    assert isinstance(scorer, FactorScorer)
    queries = data.queries("test")
    folded, y, _ = scorer.factors(queries)
    for row in range(len(queries)):
        counts = np.bincount(queries.history[row], minlength=data.n_items)
        preference = (counts > 0).astype(float)
        confidence = np.diag(1 + KNOBS["alpha"] * np.log2(1 + counts))
        system = y.T @ confidence @ y + KNOBS["l2"] * np.eye(KNOBS["dim"])
        expected = np.linalg.solve(system, y.T @ confidence @ preference)
        np.testing.assert_allclose(folded[row], expected, rtol=1e-4, atol=1e-5)


def test_implicit_itself_folds_users_in_alike(tmp_path: Path) -> None:
    """Its own solver, its own convention (values are c, not r): the same objective was trained."""
    implicit = pytest.importorskip("implicit.cpu.als")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    data = random_dataset(tmp_path / "data")
    scorer = model("als", data, tmp_path, **KNOBS)
    assert isinstance(scorer, FactorScorer)
    queries = data.queries("test")
    folded, items, _ = scorer.factors(queries)
    with threadpoolctl.threadpool_limits(1, "blas"):
        peer = implicit.AlternatingLeastSquares(factors=3, regularization=0.5, alpha=1.0)
        peer.item_factors = items
        for row in range(len(queries)):
            counts = np.bincount(queries.history[row], minlength=data.n_items)
            confidence = np.where(counts > 0, 1 + KNOBS["alpha"] * np.log2(1 + counts), 0).astype(
                np.float32
            )
            other = peer.recalculate_user([0], sp.csr_matrix(confidence[None, :]))
            np.testing.assert_allclose(folded[row], other[0], rtol=1e-3, atol=1e-4)


def test_histories_are_solved_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_dataset(tmp_path / "data")
    scorer = model("als", data, tmp_path, **KNOBS)
    queries = tiny.with_histories(data.queries("test"), [[1, 2], [3, 4], [5, 6], [1, 7], [2]])
    whole = scorer.score(queries)
    monkeypatch.setattr(on_implicit, "BLOCK_FLOATS", 1)
    assert scorer.score(queries).tobytes() == whole.tobytes()


def test_training_lowers_the_objective(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data", n_users=60, n_items=20)
    config = AlsConfig(dim=4, alpha=2.0, l2=0.1, epochs=20)
    counts = pair_counts(data).toarray()
    preference = (counts > 0).astype(float)

    def loss(y: np.ndarray) -> float:
        weights = 1 + config.alpha * np.log2(1 + counts)
        systems = [y.T * c @ y + config.l2 * np.eye(4) for c in weights]
        x = np.stack(
            [
                np.linalg.solve(a, y.T @ (c * p))
                for a, c, p in zip(systems, weights, preference, strict=True)
            ]
        )
        fit = (weights * (preference - x @ y.T) ** 2).sum()
        return float(fit + config.l2 * ((x**2).sum() + (y**2).sum()))

    run = tiny.train("als", "implicit", data, tmp_path, config)
    trained = load_arrays(run.model_directory, "item_factors")["item_factors"].astype(np.float64)
    assert loss(trained) < 0.8 * loss(
        np.random.default_rng(0).normal(scale=trained.std(), size=trained.shape)
    )
    assert loss(trained) < 1.01 * min(loss(trained * (1 + step)) for step in (-0.05, 0.05))


def test_a_model_is_loaded_and_scores_without_implicit(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    run = tiny.train("als", "implicit", data, tmp_path)
    code = (
        "import sys; sys.modules['implicit'] = None\n"
        "from pathlib import Path; from falconer.pipelines.data.dataset import Dataset; from "
        "falconer.recsys.models import saved\n"
        f"data = Dataset.open(Path({str(data.path)!r}))\n"
        f"print(saved.load_model(Path({str(run.model_directory)!r}), "
        "data).score(data.queries('test')).shape)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "(7, 9)"


def test_training_without_implicit_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_dataset(tmp_path / "data")
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingExtraError, match="implicit"):
        tiny.train("als", "implicit", data, tmp_path)


def test_vectors_of_another_length_are_refused(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    run = tiny.train("als", "implicit", data, tmp_path)
    with pytest.raises(ArtifactError, match="damaged"):
        registry.resolve("als").load(run.model_directory, AlsConfig(dim=5), data)
