"""Train a recipe on pictures, and keep what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from falconer.pipelines import runs, tracking
from falconer.pipelines.config import parse, read_toml
from falconer.pipelines.console import say
from falconer.pipelines.errors import ConfigError, TrainingError
from falconer.pipelines.files import identity_of
from falconer.pipelines.runs import Run
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.torch import fit
from falconer.vision.config import VisionConfig
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import Prepared, prepare
from falconer.vision.first_look import first_look
from falconer.vision.head import HeadTask, features_of
from falconer.vision.model import BACKEND, ImageClassifier, card_of, save_classifier
from falconer.vision.networks.classifier import Classifier
from falconer.vision.networks.registry import build
from falconer.vision.networks.weights import (
    agreed,
    fingerprint,
    load_weights,
    read_weights,
    weights_path,
)
from falconer.vision.recipe import load_recipe
from falconer.vision.task import ClassifierTask

PICTURES = Path("data") / "pictures"
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The pictures that a training learns from, and those that choose its weights."""

    train: Rows
    valid: Rows


def train(
    recipe: str,
    data: str,
    runs_root: Path,
    *,
    overrides: Sequence[str] = (),
    pictures: Path = PICTURES,
    run_id: str | None = None,
) -> Path:
    """Train `recipe` on `data` (a folder, a CSV file or a published name); returns the run
    directory.

    Raises `ConfigError` and `DataError` before a run is begun.
    """
    config = with_agreed_network(load_recipe(recipe, overrides))
    prepared = prepare(open_source(data), config.pictures, pictures)
    tell_set_aside(prepared)
    label = Path(recipe).stem
    return train_prepared(config, prepared, runs_root, label=label, run_id=run_id)


def train_prepared(
    config: VisionConfig,
    prepared: Prepared,
    runs_root: Path,
    *,
    label: str,
    run_id: str | None = None,
    part: Part | None = None,
) -> Path:
    """Train on pictures that are ready; `part` takes others than those of the folds."""
    refuse_other_task(config, prepared)
    part = part or _own_folds(prepared)
    for note in notes_on(config, len(part.train)):
        say(f"note: {note}")
    about = {
        "label": label,
        "dataset_path": str(prepared.path.resolve()),
        **conditions(config, prepared, part),
    }
    with runs.start(
        runs_root,
        model=config.network.name,
        backend=BACKEND,
        config=config.model_dump(mode="json"),
        run_id=run_id,
        **about,
    ) as run:
        _train_into(run, config, prepared, part)
    return _mirrored(run)


def trained_once(
    config: VisionConfig,
    prepared: Prepared,
    runs_root: Path,
    *,
    label: str,
    run_id: str,
    part: Part | None = None,
) -> Path:
    """The run of this id: as it is where it has finished, resumed where it was interrupted, trained
    where there is none."""
    for path in sorted(runs_root.glob(f"*-{BACKEND}-{run_id}")):
        if Run.open(path).info["status"] == "finished":
            return path
        return resume(path, part=part)
    return train_prepared(config, prepared, runs_root, label=label, run_id=run_id, part=part)


def resume(run_path: Path, *, part: Part | None = None) -> Path:
    """Go on with a training that was killed, interrupted or failed; returns its directory."""
    run = Run.open(run_path)
    origin = run.path / runs.CONFIG_FILE
    config = parse(VisionConfig, read_toml(origin), str(origin))
    prepared = Prepared.open(Path(run.info["dataset_path"]))
    part = part or _own_folds(prepared)
    with runs.resume(run_path, **conditions(config, prepared, part)) as run:
        if not (run.path / "checkpoints").exists():
            run.cut("metrics.jsonl", 0)
        _train_into(run, config, prepared, part)
    return _mirrored(run)


def with_agreed_network(config: VisionConfig) -> VisionConfig:
    """The recipe with the form of network that its weights were trained with."""
    if config.network.weights is None:
        return config
    weights = read_weights(weights_path(config.network.weights))
    return config.model_copy(update={"network": agreed(config.network, weights)})


def refuse_other_task(config: VisionConfig, prepared: Prepared) -> None:
    """`ConfigError` where the recipe is of classes and the pictures have tags, or monitors what
    they do not have."""
    if prepared.card.task != "tags":
        return
    if config.augment.mixup or config.augment.cutmix or config.training.label_smoothing:
        raise ConfigError(
            f"{prepared.card.name} has tags: set augment.mixup, augment.cutmix and "
            "training.label_smoothing to 0"
        )


def notes_on(config: VisionConfig, n_train: int) -> list[str]:
    """What a recipe can hardly learn with, on so many pictures; it is trained all the same."""
    found = []
    if config.head is not None and config.network.weights is None:
        found.append(
            "this recipe puts a new head on a trained network, and network.weights names none: its "
            "features are drawn at random"
        )
    training = config.training
    steps = training.epochs * max(1, n_train // training.batch_size)
    if config.unfreezing and training.warmup_steps > steps / 2:
        found.append(
            f"{n_train} pictures in batches of {training.batch_size} make {steps} steps in all, "
            f"and the learning rate rises for {training.warmup_steps}; more steps come of --set "
            "training.batch_size=8, a shorter rise of --set training.warmup_steps=10"
        )
    return found


def tell_set_aside(prepared: Prepared) -> None:
    """A line about the pictures, and one with what was set aside and why."""
    card = prepared.card
    counts = ", ".join(f"{count} {fold}" for fold, count in card.counts.items())
    say(f"{card.name}: {len(card.classes)} {card.task}, {counts} pictures; {prepared.path}")
    if card.rejected_total:
        shown = "; ".join(f"{name}: {reason}" for name, reason in card.rejected[:5])
        more = card.rejected_total - len(card.rejected[:5])
        say(
            f"set aside {card.rejected_total}: {shown}{f'; and {more} more' if more else ''} "
            "(all in pictures.json)"
        )


def conditions(config: VisionConfig, prepared: Prepared, part: Part) -> dict[str, Any]:
    """What the bytes of a training's result depend on, besides its configuration and versions."""
    weights = config.network.weights
    return {
        "dataset_id": prepared.card.dataset_id,
        "id_space": [prepared.card.dataset_id],
        "seed": config.seed,
        "part": identity_of([part.train.tolist(), part.valid.tolist()]),
        "weights_sha256": fingerprint(weights_path(weights)) if weights else None,
        "threads": config.training.threads or torch.get_num_threads(),
    }


def _own_folds(prepared: Prepared) -> Part:
    return Part(prepared.rows("train"), prepared.rows("valid"))


def _train_into(run: Run, config: VisionConfig, prepared: Prepared, part: Part) -> None:
    network = begin(config, prepared)
    if config.first_look and run.leads and not (run.path / "checkpoints").exists():
        _look(run, network, config, prepared)
    if config.head is not None:
        _train_head(run, config, prepared, part, network)
    for first in config.unfreezing:
        _refuse_unknown_part(network, first)
        task = ClassifierTask(
            network, config, prepared, train=part.train, valid=part.valid, first_part=first
        )
        alone = config.head is None and len(config.unfreezing) == 1
        settings = _settings(config, config.training, prepared)
        fit(task, settings, run, name="" if alone else f"from-{first}")
    if run.leads:
        card = card_of(
            config,
            task=prepared.card.task,
            classes=prepared.card.classes,
            dataset_id=prepared.card.dataset_id,
        )
        save_classifier(run.model_directory, ImageClassifier(network.cpu(), card, config))


def _look(run: Run, network: Classifier, config: VisionConfig, prepared: Prepared) -> None:
    """Take the first look; `TrainingError` where it finds what is wrong."""
    look = first_look(network, config, prepared)
    if look.causes:
        listed = "\n".join(f"  - {cause}" for cause in look.causes)
        raise TrainingError(
            f"{run.path}: the network cannot learn eight of the pictures by heart (loss "
            f"{look.first_loss:.3f}, after {look.steps} steps {look.last_loss:.3f})\n{listed}\n"
            "set first_look = false to train all the same"
        )
    run.log(
        f"first look: eight pictures learned by heart in {look.steps} steps "
        f"(loss {look.first_loss:.3f} to {look.last_loss:.3f})"
    )


def begin(config: VisionConfig, prepared: Prepared) -> Classifier:
    """The network before its first step: seeded, with its weights if there are any, and a head that
    knows nothing."""
    torch.manual_seed(config.seed)
    network = build(
        config.network,
        n_classes=len(prepared.card.classes),
        channels=config.pictures.channels,
    )
    if config.network.weights is not None:
        load_weights(network, read_weights(weights_path(config.network.weights)))
        network.set_head(len(prepared.card.classes))
    return network


def _train_head(
    run: Run, config: VisionConfig, prepared: Prepared, part: Part, network: Classifier
) -> None:
    assert config.head is not None
    network.to(device_of(config.head))
    sha256 = run.info.get("weights_sha256") or f"seed {config.seed}"
    features = features_of(network, prepared, config.pictures, weights_sha256=sha256)
    task = HeadTask(
        network, config, config.head, prepared, features, train=part.train, valid=part.valid
    )
    fit(task, _settings(config, config.head, prepared), run, name="head")


def _settings(config: VisionConfig, training: TrainingConfig, prepared: Prepared) -> TrainingConfig:
    """The loop's settings: seeded, and monitoring what the pictures' task has."""
    monitor = training.monitor
    if prepared.card.task == "tags" and monitor in ("top1", "top5"):
        monitor = "map"
    return training.model_copy(update={"seed": config.seed, "monitor": monitor})


def _refuse_unknown_part(network: Classifier, name: str) -> None:
    if name not in network.parts():
        raise ConfigError(f"unfreezing: no part {name!r}; known: {', '.join(network.parts())}")


def _mirrored(run: Run) -> Path:
    if run.leads:
        tracking.mirror(run.path)
    return run.path
