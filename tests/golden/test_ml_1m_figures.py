"""Plain recommenders on ML-1M in the order used in print: leave one out, whole catalogue, seen
films filtered.

Trained on train alone; the history of a test query holds the validation film too.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from falconer.pipelines import stages as etl_stages
from falconer.pipelines.data.dataset import Dataset
from falconer.recsys import stages

FIGURES = {
    "popularity": (223 / 6040, 0.018032673467874856),
    "item_knn": (1064 / 6040, 0.09737413833252544),
}
"""Recall@10 and NDCG@10 on test: counting and sorting only, so the same on every machine."""

PUBLISHED = (0.2185, 0.1246)
"""Recall@10 and NDCG@10 of EASE with its history weighted 0.7^position, as measured elsewhere."""


@pytest.fixture(scope="module")
def data(data_mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FALCONER_DATA_MIRROR", str(data_mirror))
        recipe = etl_stages.load_recipe("ml-1m-sequences", ["features.engine=polars"])
        return Dataset.open(etl_stages.etl(recipe, tmp_path_factory.mktemp("data")))


def figures(recipe: str, data: Dataset, root: Path, *overrides: str) -> tuple[float, float]:
    run = stages.train(recipe, data.path, root, overrides=overrides)
    stages.recommend(run, config=stages.RecommendConfig(k=10))
    stages.evaluate(run, data.path)
    metrics = json.loads((run / "novel" / "report.json").read_text(encoding="utf-8"))["metrics"]
    return metrics["recall@10"]["mean"], metrics["ndcg@10"]["mean"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_counting_models_never_change(name: str, data: Dataset, tmp_path: Path) -> None:
    assert figures(f"ml-1m-sequences/{name}", data, tmp_path) == pytest.approx(
        FIGURES[name], abs=1e-9
    )


def test_ease_is_as_good_as_published_and_the_same_on_every_run(
    data: Dataset, tmp_path: Path
) -> None:
    first, second = (
        figures("ml-1m-sequences/ease", data, tmp_path, "model.decay=0.7") for _ in range(2)
    )
    assert first == pytest.approx(second, abs=1e-9)
    assert all(ours >= theirs for ours, theirs in zip(first, PUBLISHED, strict=True))
