"""Finished runs of pictures whose networks were drawn at random, and never trained."""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines import runs
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import prepare
from falconer.vision.detection.data import open_data
from falconer.vision.detection.registry import RECIPES
from falconer.vision.detection.saved import save_detector
from falconer.vision.detection.training import begun
from falconer.vision.model import ImageClassifier, card_of, save_classifier
from falconer.vision.recipe import load_recipe
from falconer.vision.stages.train import begin
from tests.support.pictures import SMALL
from tests.support.squares import QUICK


def classifier_run(
    root: Path, data: Path, *, temperature: float = 1.0, seed: int = 0, label: str = "drawn"
) -> Path:
    """Of a small classifier of the pictures in `data`."""
    config = load_recipe("small-pictures", [*SMALL, f"seed={seed}"])
    prepared = prepare(open_source(str(data)), config.pictures, root / "prepared")
    network = begin(config, prepared)
    with runs.start(
        root / "runs",
        model=config.network.name,
        backend="torch",
        config=config.model_dump(mode="json"),
        label=label,
        seed=seed,
        dataset_path=str(prepared.path),
    ) as run:
        card = card_of(
            config,
            task=prepared.card.task,
            classes=prepared.card.classes,
            dataset_id=prepared.card.dataset_id,
            temperature=temperature,
        )
        save_classifier(run.model_directory, ImageClassifier(network, card, config))
    return run.path


def detector_run(root: Path, data: Path, *, seed: int = 0, label: str = "drawn") -> Path:
    """Of a small detector of the boxes in `data`, which finds a little of everything."""
    _, config = RECIPES.load("ssd", [*QUICK, f"model.seed={seed}"])
    pictures = open_data(str(data), root)
    network = begun(config, len(pictures.classes))
    with runs.start(
        root / "runs",
        model="ssd",
        backend="torch",
        config={"name": "ssd", "backend": "torch", "model": config.model_dump(mode="json")},
        label=label,
        seed=seed,
        dataset_id=pictures.dataset_id,
        dataset_path=str(data),
    ) as run:
        save_detector(
            run.model_directory,
            network,
            config,
            classes=pictures.classes,
            threshold=0.4,
            dataset_id=pictures.dataset_id,
        )
    return run.path
