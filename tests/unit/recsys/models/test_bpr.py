"""BPR: the scores of its vectors, and what `implicit` is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ArtifactError, MissingExtraError, TrainingError
from falconer.recsys import stages
from falconer.recsys.backends.numpy.histories import pairs
from falconer.recsys.contracts import UserScorer
from falconer.recsys.models import registry
from falconer.recsys.models.bpr import on_implicit
from falconer.recsys.models.bpr.config import BprConfig
from falconer.recsys.models.bpr.on_implicit import BprScorer
from falconer.recsys.recommending.top_k import top_k
from tests.support import tiny
from tests.support.datasets import checkerboard
from tests.support.small_training import new_run
from tests.support.tiny import random_dataset

RNG = np.random.default_rng(0)
USERS = np.column_stack([RNG.normal(size=(4, 3)), np.ones(4)]).astype(np.float32)
ITEMS = RNG.normal(size=(6, 4)).astype(np.float32)
POPULARITY = np.array([9, 7, 5, 3, 1, 0], np.float32)


def test_a_score_is_the_product_of_both_vectors_and_the_items_bias(tmp_path: Path) -> None:
    queries = tiny.with_histories(
        random_dataset(tmp_path / "data").queries("test"), [[1], [2, 3]], user=2
    )
    scores = BprScorer(USERS, ITEMS, POPULARITY, 8).score(queries)
    expected = USERS[2, :3].astype(float) @ ITEMS[:, :3].T + ITEMS[:, 3]
    np.testing.assert_allclose(scores[:, :6], [expected, expected], rtol=1e-5)
    assert (scores[:, 6:] == -np.inf).all()


@pytest.mark.parametrize("user", [-1, 4])
def test_a_user_who_is_not_known_gets_the_popularity_exactly(user: int, tmp_path: Path) -> None:
    queries = tiny.with_histories(
        random_dataset(tmp_path / "data").queries("test"), [[1]], user=user
    )
    scorer = BprScorer(USERS, ITEMS, POPULARITY, 6)
    assert isinstance(scorer, UserScorer)
    assert not scorer.knows(queries).any()
    assert (scorer.score(queries)[0] == POPULARITY).all()
    assert top_k(scorer, queries, n_items=6, k=6).items.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_seen_items_are_ranked_above_unseen_ones(tmp_path: Path) -> None:
    """The share of triples in the right order (the paper's AUC, equation 1) on the pairs that it
    was trained on."""
    data = random_dataset(tmp_path / "data", n_users=40, n_items=30)
    scorer = tiny.model("bpr", data, tmp_path, dim=16, l2=0.001, epochs=300)
    queries = Queries(np.arange(40, dtype=np.int32), Ragged.of([[]] * 40))
    scores, seen = scorer.score(queries), pairs(data).toarray() > 0
    right = [
        (row[own][:, None] > row[~own][None, :]).mean()
        for row, own in zip(scores, seen, strict=True)
        if own.any()
    ]
    assert np.mean(right) > 0.95


def test_more_threads_are_declared_not_to_repeat(tmp_path: Path) -> None:
    data = checkerboard(tmp_path / "board")
    assert BprConfig.deterministic
    assert BprConfig().repeatable
    run = stages.train(
        "bpr", data.path, tmp_path / "runs", overrides=["model.threads=2", "model.epochs=1"]
    )
    assert '"repeatable": false' in (run / "run.json").read_text()
    assert "training again gives another model" in (run / "log.txt").read_text()
    run = stages.train("bpr", data.path, tmp_path / "runs", overrides=["model.epochs=1"])
    assert '"repeatable": true' in (run / "run.json").read_text()
    assert "another model" not in (run / "log.txt").read_text()


def test_vectors_that_grow_out_of_bounds_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        on_implicit, "_fit", lambda config, binary: (USERS, np.full_like(ITEMS, np.nan))
    )
    data: Any = random_dataset(tmp_path / "data")
    with pytest.raises(TrainingError, match=r"learning_rate"):
        on_implicit.train(BprConfig(), data, new_run(tmp_path))


def test_a_model_is_loaded_and_scores_without_implicit(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    run = tiny.train("bpr", "implicit", data, tmp_path)
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
    monkeypatch.setitem(sys.modules, "implicit.cpu.bpr", None)
    with pytest.raises(MissingExtraError, match="implicit"):
        tiny.train("bpr", "implicit", data, tmp_path)


def test_vectors_of_another_length_are_refused(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    run = tiny.train("bpr", "implicit", data, tmp_path)
    with pytest.raises(ArtifactError, match="damaged"):
        registry.resolve("bpr").load(run.model_directory, BprConfig(dim=5), data)
