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
from falconer.pipelines.data import refit as refits
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError
from falconer.pipelines.models.recipe import frozen, thaw
from falconer.pipelines.runs import Run, Watch
from falconer.pipelines.training.refit import CHOSEN, REFIT
from falconer.pipelines.training.start import STARTS_FROM
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models import registry
from falconer.recsys.models.recipe import load_recipe
from falconer.recsys.models.registry import Implementation
from falconer.recsys.models.saved import save_model
from falconer.recsys.models.train_checks import refuse_or_note
from falconer.recsys.recommending.top_k import threads
from falconer.recsys.stages.finished import REFIT_OF, dataset_of, finished_run
from falconer.recsys.stages.starting import start_facts


def train(
    recipe: str,
    data_path: Path,
    runs_root: Path,
    *,
    overrides: Sequence[str] = (),
    run_id: str | None = None,
    watch: Watch | None = None,
    facts: Mapping[str, Any] | None = None,
    start: Path | None = None,
) -> Path:
    """Train a recipe (its name, a TOML file, or a model's name) on a dataset; returns the run
    directory.

    `watch` sees the metrics while it trains, and may end it with `runs.StoppedError`; `facts` go
    into `run.json` too. It starts from the weights of the run `start`, where that is given.

    Raises `ConfigError` for a wrong recipe, and where its model cannot start from that run, and
    `ArtifactError` for a wrong dataset, both before a run is begun.
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
    about |= {"knobs": changed_knobs(recipe, config, overrides)}
    about |= {"selected_on": _selected_on(config, data), **(facts or {})}
    about |= start_facts(start, implementation, config, data) if start else {}
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
    implementation, config = _thawed(run)
    data = dataset_of(run, data_path)
    with runs.resume(run_path, **_conditions(implementation, config, data)) as run:
        if not (run.path / "checkpoints").exists():
            run.cut("metrics.jsonl", 0)
        _train_into(run, implementation, config, data)
    return _mirrored(run)


def refit(run_path: Path, runs_root: Path, *, data_path: Path | None = None) -> Path:
    """Train the model of a finished run anew on train and validation together, with its knobs and
    as many epochs as it chose; returns the new run's directory.

    There is no validation any more: nothing is chosen. Raises `ArtifactError` for a run that is not
    finished, is a refit itself or is of an earlier release, and for a dataset without validation
    events; `ConfigError` for a schedule that follows the validation.
    """
    chosen = finished_run(run_path)
    implementation, config = _thawed(chosen)
    data = dataset_of(chosen, data_path)
    conditions = _conditions(implementation, config, data)
    epochs = _epochs_to_repeat(chosen, config, data)
    about = {
        "label": f"{chosen.info.get('label', implementation.name)} refit",
        "dataset_path": str(data.path.resolve()),
        **conditions,
        "selected_on": chosen.info.get("selected_on"),
        "knobs": chosen.info.get("knobs", []),
        REFIT_OF: chosen.name,
        **epochs,
    }
    with runs.start(
        runs_root,
        model=implementation.name,
        backend=implementation.backend,
        config=frozen(implementation, config),
        **about,
    ) as run:
        shown = ", ".join(f"{name or 'model'} {n:g}" for name, n in chosen_epochs(run).items())
        run.log(
            f"fitting {chosen.name} anew on train and validation, without validation"
            + (f"; epochs: {shown}" if shown else "")
        )
        _train_into(run, implementation, config, data)
    return _mirrored(run)


def chosen_epochs(run: Run) -> Mapping[str, float]:
    """Fit's name -> epochs, of a run that fits anew; empty for a model without epochs."""
    return dict(run.info.get(REFIT, {}))


def _epochs_to_repeat(chosen: Run, config: ModelConfig, data: Dataset) -> dict[str, Any]:
    """What the loop is told of how long to train; nothing for a model without epochs."""
    if STARTS_FROM in chosen.info:
        raise ArtifactError(
            f"{chosen.path}: started from another run's weights, so its epochs say nothing of a "
            "training from the beginning; train without --from, and fit that run anew"
        )
    if chosen.info.get(REFIT_OF):
        raise ArtifactError(f"{chosen.path}: is fitted on train and validation already")
    if chosen.info["dataset_id"] != data.card.dataset_id:
        raise ArtifactError(
            f"{data.path}: is not the dataset of {chosen.name} ({chosen.info['dataset_id']}), on "
            "which its epoch was chosen; train on it first"
        )
    training = getattr(config, "training", None)
    if getattr(getattr(training, "schedule", None), "kind", None) == "plateau":
        raise ConfigError(
            f"{chosen.path}: training.schedule is plateau, which follows the validation; train "
            "with another schedule, and fit that run anew"
        )
    if training is None:
        return {}
    if CHOSEN not in chosen.info:
        raise ArtifactError(
            f"{chosen.path}: does not say which epoch it chose (an earlier release wrote it); "
            "train it again, and fit that run anew"
        )
    return {REFIT: chosen.info[CHOSEN]}


def _thawed(run: Run) -> tuple[Implementation, ModelConfig]:
    recipe = run.path / runs.CONFIG_FILE
    return thaw(registry.REGISTRY, read_toml(recipe), str(recipe))


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
    before, started = run.info["seconds"], time.perf_counter()
    if run.info.get(REFIT_OF):
        refits.keep_both(data, run.path)
        with refits.with_validation(data) as both:
            scorer = implementation.train(config, both, run)
    else:
        overlap.keep_train(data, run.path)
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


def changed_knobs(recipe: str, config: ModelConfig, overrides: Sequence[str]) -> list[str]:
    """`name=value` of each knob that `overrides` made another one than the recipe's, in the order
    of the configuration; the overrides themselves where the recipe alone is none."""
    if not overrides:
        return []
    try:
        _, plain = load_recipe(recipe)
    except PipelineError:
        return [one.removeprefix("model.") for one in overrides]
    before, now = (_flat(one.model_dump(mode="json")) for one in (plain, config))
    return [f"{name}={value}" for name, value in now.items() if before.get(name) != value]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def _label(recipe: str) -> str:
    """A short name to print: "ease" of the recipe "complete-journey/ease" and of the file
    "my/ease.toml"."""
    return recipe.removesuffix(".toml").rsplit("/", 1)[-1]
