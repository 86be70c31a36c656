"""Train a recipe on a dataset, and go on with a training that was interrupted.

No framework is imported here: a trainer brings its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falconer.pipelines import runs, tracking
from falconer.pipelines.config import read_toml
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.models.recipe import frozen, thaw
from falconer.pipelines.runs import Run, Watch
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models import registry
from falconer.recsys.models.recipe import load_recipe
from falconer.recsys.models.registry import Implementation
from falconer.recsys.models.saved import save_model
from falconer.recsys.models.train_checks import refuse_or_note
from falconer.recsys.recommending.top_k import threads
from falconer.recsys.stages.finished import dataset_of


def train(
    recipe: str,
    data_path: Path,
    runs_root: Path,
    *,
    overrides: Sequence[str] = (),
    run_id: str | None = None,
    watch: Watch | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Train a recipe (its name, a TOML file, or a model's name) on a dataset; returns the run
    directory.

    `watch` sees the metrics while it trains, and may end it with `runs.StoppedError`; `facts` go
    into `run.json` too.

    Raises `ConfigError` for a wrong recipe and `ArtifactError` for a wrong dataset, both before a
    run is begun.
    """
    implementation, config = load_recipe(recipe, overrides)
    data = Dataset.open(data_path)
    refuse_other_task(implementation, data)
    notes = refuse_or_note(implementation.name, config, data)
    about = {
        "label": _label(recipe),
        "dataset_path": str(data.path.resolve()),
        **_conditions(implementation, config, data),
    }
    about |= {"selected_on": _selected_on(config, data), **(facts or {})}
    with runs.start(
        runs_root,
        model=implementation.name,
        backend=implementation.backend,
        config=frozen(implementation, config),
        run_id=run_id,
        **about,
    ) as run:
        run.watch = watch
        for note in notes:
            run.log(f"note: {note}")
        _train_into(run, implementation, config, data)
    return _mirrored(run)


def resume(run_path: Path, *, data_path: Path | None = None) -> Path:
    """Go on with a training that was killed, interrupted or failed, from its last checkpoint;
    returns its directory.

    `data_path` says where the dataset is now, if it was moved. Raises `ArtifactError` for a run
    that is finished or under way, and where dataset, configuration, versions or threads are not
    those that it was started with.
    """
    run = Run.open(run_path)
    recipe = run.path / runs.CONFIG_FILE
    implementation, config = thaw(registry.REGISTRY, read_toml(recipe), str(recipe))
    data = dataset_of(run, data_path)
    with runs.resume(run_path, **_conditions(implementation, config, data)) as run:
        if not (run.path / "checkpoints").exists():
            run.cut("metrics.jsonl", 0)
        _train_into(run, implementation, config, data)
    return _mirrored(run)


def refuse_other_task(implementation: Implementation, data: Dataset) -> None:
    """`ConfigError` where the model does not train on datasets of this task."""
    if data.card.task not in implementation.config.tasks:
        others = [
            name for name, model in registry.MODELS.items() if data.card.task in model.config.tasks
        ]
        raise ConfigError(
            f"{implementation.name} is a model for the task "
            f"{' and '.join(implementation.config.tasks)}, and "
            f"{data.path} is a dataset of the task {data.card.task}; train one of: "
            f"{', '.join(others)}"
        )


def _conditions(
    implementation: Implementation, config: ModelConfig, data: Dataset
) -> dict[str, Any]:
    """What the bytes of a training's result depend on, besides the configuration and the
    versions."""
    return {
        "dataset_id": data.card.dataset_id,
        "id_space": list(data.card.id_space.generations),
        "seed": config.seed,
        "repeatable": config.repeatable,
        "threads": threads(),
        "package": implementation.package,
    }


def _selected_on(config: ModelConfig, data: Dataset) -> Fold | None:
    """The fold whose metric chooses the weights: what a training loop monitors comes from
    `falconer.recsys.judging.lists.validation`."""
    monitor = getattr(getattr(config, "training", None), "monitor", None)
    return "valid" if monitor is not None and data.has_fold("valid") else None


def _train_into(
    run: Run, implementation: Implementation, config: ModelConfig, data: Dataset
) -> None:
    run.log(
        f"training {implementation.name} on {data.card.name}: {data.n_users} users, {data.n_items} "
        "items"
    )
    overlap.keep_train(data, run.path)
    before, started = run.info["seconds"], time.perf_counter()
    scorer = implementation.train(config, data, run)
    seconds = before + time.perf_counter() - started
    if run.leads:
        save_model(
            run.model_directory, scorer, implementation=implementation, config=config, data=data
        )
    run.log_timing(train_seconds=seconds)
    run.log(f"trained in {seconds:.1f} s")


def _mirrored(run: Run) -> Path:
    if run.leads:
        tracking.mirror(run.path)
    return run.path


def _label(recipe: str) -> str:
    """A short name to print: "ease" of the recipe "complete-journey/ease" and of the file
    "my/ease.toml"."""
    return recipe.removesuffix(".toml").rsplit("/", 1)[-1]
