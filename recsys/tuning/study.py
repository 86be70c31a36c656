"""The search for a recommender's knobs, judged on the fold `valid` of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import View
from falconer.pipelines.models.recipe import frozen
from falconer.pipelines.runs import Run, Watch
from falconer.pipelines.tuning.study import Goal, StudyConfig, search
from falconer.recsys import stages
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.metrics import METRICS
from falconer.recsys.models.recipe import load_recipe, load_search
from falconer.recsys.models.saved import load_model
from falconer.recsys.stages.training import refuse_other_task
from falconer.recsys.tuning.objective import objective_of


class TuneConfig(StudyConfig):
    """How to search, and what decides.

    The validations of a training are of the metric that decides where it is the same one in the
    same view, the dataset's first.
    """

    metric: str | None = None
    """What decides; where left out, the metric that the training monitors, else ndcg@10, for labels
    roc_auc or rmse."""
    view: View | None = None
    """In which view; the dataset's first where left out."""


def tune(recipe: str, data_path: Path, runs_root: Path, config: TuneConfig | None = None) -> Path:
    """Search the recipe's space, going on with what an interrupted search left; returns the path of
    `best.toml`.

    Raises `ConfigError` for a recipe without a search space and for one that the model does not
    have, `DataError` for a dataset without a fold `valid`, and what `search` raises.
    """
    config = config or TuneConfig()
    return search(_Experiment(recipe, Dataset.open(data_path), config), runs_root, config)


class _Experiment:
    """Training a recipe on a dataset, as the study of all wings wants it."""

    def __init__(self, recipe: str, data: Dataset, config: TuneConfig) -> None:
        implementation, model = load_recipe(recipe)
        refuse_other_task(implementation, data)
        self.model, self.space = implementation.name, load_search(recipe)
        self._recipe, self._data = recipe, data
        self._objective = objective_of(data, config.metric or _monitored(model), config.view)
        metric, view = self._objective.metric, self._objective.view
        self.identity = [frozen(implementation, model), data.card.dataset_id, metric, view]
        self.goal = Goal(
            metric=metric,
            more_is_better=self._objective.more_is_better,
            is_validated=self._objective.is_validated,
            facts={"view": view},
            data=f"{f'view {view}, ' if view else ''}dataset {data.card.name} "
            f"{data.card.dataset_id}",
        )

    def train(
        self,
        settings: Sequence[str],
        *,
        runs_root: Path,
        run_id: str,
        watch: Watch | None,
        facts: Mapping[str, Any],
    ) -> Path:
        """A run with these settings."""
        return stages.train(
            self._recipe,
            self._data.path,
            runs_root,
            overrides=settings,
            run_id=run_id,
            watch=watch,
            facts=facts,
        )

    def value(self, run: Run) -> float:
        """The objective's value of the run's model."""
        return self._objective.of(load_model(run.model_directory, self._data))


def _monitored(model: ModelConfig) -> str | None:
    """The metric of lists that chooses the epoch in a training of this model, if there is one."""
    monitor = str(getattr(getattr(model, "training", None), "monitor", None))
    return monitor if monitor.partition("@")[0] in METRICS else None
