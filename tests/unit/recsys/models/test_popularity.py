from __future__ import annotations

from pathlib import Path

import numpy as np

from falconer.pipelines import runs
from falconer.recsys.models import registry, saved
from tests.support.datasets import checkerboard


def test_popularity_counts_train_events(tmp_path: Path) -> None:
    data = checkerboard(tmp_path / "board")
    chosen = registry.resolve("popularity")
    with runs.start(tmp_path / "runs", model="popularity", backend="numpy", config={}) as run:
        scorer = chosen.train(chosen.config(), data, run)
        saved.save_model(
            run.model_directory, scorer, implementation=chosen, config=chosen.config(), data=data
        )
    queries = data.queries("test")
    scores = scorer.score(queries)
    assert scores.shape == (len(queries), data.n_items)
    assert (scores[0] == np.bincount(data.train_column("item"), minlength=data.n_items)).all()
    loaded = saved.load_model(run.model_directory, data)
    assert (loaded.score(queries) == scores).all()
