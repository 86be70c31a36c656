"""What both wings stand on, under a third one: a regressor is trained, tuned, compared and exported
through it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.exporting.onnx_file import Session, to_onnx
from falconer.pipelines.exporting.parity import Parity, difference, parity_of, refuse_far
from falconer.pipelines.models import saved
from falconer.pipelines.models.recipe import Recipes
from falconer.pipelines.models.registry import Model, Registry
from falconer.pipelines.runs import Run
from falconer.pipelines.statistics.differences import Estimate, paired_differences
from falconer.pipelines.tuning.study import StudyConfig, search
from tests.support import toy_wing
from tests.support.toy_wing import Table

RECIPE = """
name = "ridge"
[search]
"model.l2" = { low = 1e-3, high = 1e3, log = true }
"""


@pytest.fixture
def recipes(tmp_path: Path) -> Recipes:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/toy.toml").write_text(RECIPE, encoding="utf-8")
    return Recipes(toy_wing.REGISTRY, tmp_path / "recipes")


@pytest.fixture
def table() -> Table:
    """60 rows of 20 columns, of which two count: without a penalty half of them are too few."""
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 20))
    return Table(x, 2 * x[:, 0] - x[:, 1] + random.normal(size=60))


def test_it_is_trained_saved_and_loaded(recipes: Recipes, table: Table, tmp_path: Path) -> None:
    run = Run(toy_wing.train_run(recipes, "ridge", table, tmp_path / "runs", ["model.l2=0"]))
    exact = np.linalg.lstsq(table.x, table.y, rcond=None)[0]
    np.testing.assert_allclose(toy_wing.load_run(run, table).weights, exact)
    card = saved.read_card(run.model_directory, toy_wing.ToyCard)
    assert (card.name, card.backend, card.config, card.n_columns) == (
        "ridge",
        "numpy",
        {"l2": 0.0},
        20,
    )
    (run.model_directory / "weights.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ArtifactError, match="damaged"):
        toy_wing.load_run(run, table)


def test_it_is_tuned(recipes: Recipes, table: Table, tmp_path: Path) -> None:
    experiment = toy_wing.Experiment(recipes, str(recipes.folder / "toy.toml"), table)
    best = search(experiment, tmp_path / "runs", StudyConfig(trials=8))
    _, config = recipes.load(str(best))
    assert isinstance(config, toy_wing.RidgeConfig)
    values = {
        run.info["trial"]: run.info["objective"]["value"]
        for run in map(Run, (tmp_path / "runs").glob("2*"))
    }
    assert len(values) == 8
    assert min(values.values()) < 0.8 * max(values.values())
    assert f"{min(values.values()):.4f}, the second half" in best.read_text(encoding="utf-8")
    again = search(experiment, tmp_path / "runs", StudyConfig(trials=9))
    assert again == best
    assert len(list((tmp_path / "runs").glob("2*"))) == 9


@dataclass(frozen=True)
class Report:
    label: str
    metrics: dict[str, Estimate]
    run: str | None = None
    model: str | None = None
    dataset_id: str = "rows"
    fold: str = "test"
    level: float = 0.95
    resamples: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    report: Report
    errors: NDArray[np.float64]

    def values(self, metric: str) -> NDArray[np.float64]:
        assert metric == "squared_error"
        return self.errors


def test_two_of_them_are_compared(recipes: Recipes, table: Table, tmp_path: Path) -> None:
    half = Table(table.x[:30], table.y[:30])
    rest = Table(table.x[30:], table.y[30:])
    judged = []
    for l2 in (1.0, 1e4):
        run = Run(toy_wing.train_run(recipes, "ridge", half, tmp_path, [f"model.l2={l2}"]))
        errors = toy_wing.squared_errors(toy_wing.load_run(run, rest), rest)
        judged.append(Judged(Report(f"l2 {l2:g}", {}), errors))
    (gap,) = paired_differences(judged, "squared_error")
    assert gap.difference == pytest.approx(float(np.mean(judged[0].errors - judged[1].errors)))
    assert gap.separated
    assert gap.high < 0


class Linear(torch.nn.Module):
    def __init__(self, weights: NDArray[np.float64], wrong: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights + wrong, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights


@pytest.mark.parametrize(("wrong", "near"), [(0.0, True), (0.01, False)])
def test_it_is_exported_where_the_file_answers_alike(
    wrong: float, near: bool, recipes: Recipes, table: Table, tmp_path: Path
) -> None:
    run = Run(toy_wing.train_run(recipes, "ridge", table, tmp_path))
    model, x = toy_wing.load_run(run, table), table.x.astype(np.float32)
    content = to_onnx(
        Linear(model.weights, wrong),
        {"x": x[:3]},
        outputs=("y",),
        free={"x": {0: "rows"}, "y": {0: "rows"}},
        facts={"run": run.name},
    )
    session = Session(content)
    found = parity_of(
        (model.predict(table)[:n].astype(np.float32), session({"x": x[:n]})["y"])
        for n in (1, 7, 60)
    )
    assert found.n_scores == 68
    if near:
        refuse_far(found, 1e-4)
    else:
        with pytest.raises(ArtifactError, match="nothing was written"):
            refuse_far(found, 1e-4)


def test_nothing_compared_is_no_parity() -> None:
    assert parity_of([]) == Parity(0.0, 0)
    with pytest.raises(ArtifactError, match="no scores"):
        refuse_far(parity_of([]), 1.0)
    assert difference(np.ones(2), np.ones(3)) == float("inf")
    assert difference(np.array([1.0, np.inf]), np.ones(2)) == float("inf")


def test_a_recipe_of_the_wing_lists_its_mistakes(recipes: Recipes) -> None:
    for name, match in (("rigde", "did you mean 'ridge'"), ("nothing/here", "no recipe")):
        with pytest.raises(ConfigError, match=match):
            recipes.load(name)
    with pytest.raises(ConfigError, match=r"model.l2: .*greater"):
        recipes.load("ridge", ["model.l2=-1"])
    with pytest.raises(ConfigError, match="no backend 'torch', only numpy"):
        toy_wing.REGISTRY.resolve("ridge", "torch")


def test_a_table_may_be_empty() -> None:
    nothing: Registry = Registry({}, group="no-such-group", config=toy_wing.RidgeConfig)
    assert nothing.names() == ()
    with pytest.raises(ConfigError, match="no model 'ridge'"):
        nothing.resolve("ridge")
    assert Model(toy_wing.RidgeConfig, {}).package is None


def test_what_it_stands_on_knows_no_queries() -> None:
    rooms = (
        "models.registry models.saved models.recipe tuning.search_space exporting.parity plugins"
    )
    code = "; ".join(f"import falconer.pipelines.{room}" for room in rooms.split())
    code += "; import sys; print([name for name in sys.modules if 'queries' in name])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
