"""README's table of Complete Journey: the plain models that read weights, where the recipe lets
each purchase count once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from falconer.pipelines import stages as etl_stages
from falconer.pipelines.data.dataset import Dataset
from falconer.recsys import stages

README = Path(__file__).parents[2] / "README.md"
MODELS = {"popularity": r"popularity \(plain", "item_knn": r"item_knn \(plain"}
"""Recipe -> how its row of the table begins."""
VIEWS = ("all", "repeat", "novel")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    recipe = etl_stages.load_recipe("complete-journey", ["features.engine=polars"])
    return Dataset.open(etl_stages.etl(recipe, tmp_path_factory.mktemp("data")))


def printed(beginning: str) -> list[str]:
    """NDCG@10 in the three views, as README has it."""
    text = README.read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {beginning} baseline\) \|(.*)$", text, re.MULTILINE)
    return re.findall(r"(0\.\d{3}) \(", row)


@pytest.mark.parametrize("name", MODELS)
def test_figures_are_those_of_readme(name: str, data: Dataset, tmp_path: Path) -> None:
    run = stages.train(f"complete-journey/{name}", data.path, tmp_path)
    stages.recommend(run, config=stages.RecommendConfig(k=10))
    stages.evaluate(run, data.path)
    found = []
    for view in VIEWS:
        report = json.loads((run / view / "report.json").read_text(encoding="utf-8"))
        found.append(f"{report['metrics']['ndcg@10']['mean']:.3f}")
    assert found == printed(MODELS[name])
