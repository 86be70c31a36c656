"""Whether a training can start from a trained run's weights, and what it then keeps of that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.start import starting_from
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models.registry import MODELS, Implementation
from falconer.recsys.models.saved import read_card
from falconer.recsys.stages.finished import finished_run


def start_facts(
    run_path: Path, implementation: Implementation, config: ModelConfig, data: Dataset
) -> dict[str, Any]:
    """What the `run.json` of a training that starts from the finished run at `run_path` has to
    hold.

    Raises `ConfigError` where the model cannot start from a run, or not from this one, and
    `ArtifactError` where the run has no model.
    """
    refuse_start(implementation, config)
    run = finished_run(run_path)
    card = read_card(run.model_directory)
    if (card.name, card.backend) != (implementation.name, implementation.backend):
        raise ConfigError(
            f"{run_path}: is {card.name} on {card.backend}, and {implementation.name} on "
            f"{implementation.backend} can only start from its own kind"
        )
    if data.card.task != "top_n":
        raise ConfigError(f"{data.path}: only a training for lists can start from a run")
    if not data.card.id_space.descends_from(card.id_space):
        raise ConfigError(
            f"{data.path}: does not continue the ids of the dataset of {run.name}; build it with "
            "`extends` set to that dataset, or train without --from"
        )
    return starting_from(run)


def refuse_start(implementation: Implementation, config: ModelConfig) -> None:
    """`ConfigError` where a model cannot start from a trained run's weights."""
    if implementation.backend not in config.warm_starts:
        able = ", ".join(
            f"{name} on {backend}"
            for name, model in MODELS.items()
            for backend in model.config.warm_starts
        )
        raise ConfigError(
            f"{implementation.name} on {implementation.backend} cannot start from a trained run; "
            f"these can: {able}"
        )
    if getattr(config, "pretraining", None) is not None:
        raise ConfigError(
            f"{implementation.name}: model.pretraining is a start of its own; leave it out, or "
            "train without --from"
        )
