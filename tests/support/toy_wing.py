"""A third wing in a few lines: a regressor of one number from others, registered as every wing
registers its models. What it stands on must know nothing of recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from falconer.pipelines import runs
from falconer.pipelines.config import Config
from falconer.pipelines.files import read_json, write_json
from falconer.pipelines.models import saved
from falconer.pipelines.models.recipe import Recipes, frozen
from falconer.pipelines.models.registry import Model, Registry
from falconer.pipelines.tuning.study import Goal


class RidgeConfig(Config):
    """Least squares with a penalty."""

    l2: float = Field(default=1.0, ge=0)


@dataclass(frozen=True)
class Table:
    """Rows x float64[n, d] with a number y float64[n] each."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Ridge:
    """y = x w."""

    weights: NDArray[np.float64]

    def predict(self, table: Table) -> NDArray[np.float64]:
        """float64[n]."""
        return table.x @ self.weights

    def save(self, directory: Path) -> None:
        """Write `weights.json`."""
        write_json(directory / "weights.json", self.weights.tolist())


def train(config: RidgeConfig, data: Table, run: runs.Run) -> Ridge:
    """Solve the normal equations."""
    square = data.x.T @ data.x + config.l2 * np.eye(data.x.shape[1])
    run.log_metrics(0, {"rows": float(len(data.y))})
    return Ridge(np.linalg.solve(square, data.x.T @ data.y))


def load(directory: Path, config: RidgeConfig, data: Table) -> Ridge:
    """Read `weights.json`."""
    return Ridge(np.array(read_json(directory / "weights.json")))


class ToyCard(saved.Card):
    """What a saved regressor knows of its data."""

    n_columns: int


RIDGE: Model[Config] = Model(RidgeConfig, {"numpy": __name__})
REGISTRY: Registry[Config, Any, Any] = Registry({"ridge": RIDGE}, group="toys", config=Config)


@dataclass(frozen=True)
class Experiment:
    """Ridge with other penalties, on rows of which the second half decides."""

    recipes: Recipes[Config, Any, Any]
    recipe: str
    data: Table

    model = "ridge"
    goal = Goal(
        metric="mse", more_is_better=False, is_validated=False, facts={}, data="the second half"
    )

    @property
    def identity(self) -> Any:
        """The recipe is all there is."""
        return self.recipe

    @property
    def space(self) -> Any:
        """As written."""
        return self.recipes.load_search(self.recipe)

    def train(
        self,
        settings: Sequence[str],
        *,
        runs_root: Path,
        run_id: str,
        watch: runs.Watch | None,
        facts: Mapping[str, Any],
    ) -> Path:
        """A run on the first half."""
        half = len(self.data.y) // 2
        first = Table(self.data.x[:half], self.data.y[:half])
        return train_run(
            self.recipes, self.recipe, first, runs_root, settings, run_id=run_id, **facts
        )

    def value(self, run: runs.Run) -> float:
        """Mean squared error on the second half."""
        half = len(self.data.y) // 2
        rest = Table(self.data.x[half:], self.data.y[half:])
        return float(np.mean(squared_errors(load_run(run, rest), rest)))


def train_run(
    recipes: Recipes[Config, Any, Any],
    recipe: str,
    data: Table,
    root: Path,
    settings: Sequence[str] = (),
    **facts: Any,
) -> Path:
    """Train a recipe into a run."""
    implementation, config = recipes.load(recipe, settings)
    content = frozen(implementation, config)
    with runs.start(root, model="ridge", backend="numpy", config=content, **facts) as run:
        model = implementation.train(config, data, run)
        about = saved.facts_of(implementation, config)
        saved.save(run.model_directory, model, ToyCard(**about, n_columns=data.x.shape[1]))
    return run.path


def load_run(run: runs.Run, data: Table) -> Ridge:
    """The run's model."""
    card = saved.read_card(run.model_directory, ToyCard)
    model: Ridge = saved.load(run.model_directory, card, REGISTRY, data)
    return model


def squared_errors(model: Ridge, data: Table) -> NDArray[np.float64]:
    """float64[n]."""
    return (model.predict(data) - data.y) ** 2
