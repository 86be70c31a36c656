"""SSD, as the registry of detectors knows it: `train` and `load`."""

from __future__ import annotations

from pathlib import Path

import torch

from falconer.pipelines.errors import DataError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.torch import fit
from falconer.vision.detection.batches import pixels_of
from falconer.vision.detection.config import SsdConfig
from falconer.vision.detection.data import DetectionData
from falconer.vision.detection.detector import Detector
from falconer.vision.detection.judging.errors import best_threshold
from falconer.vision.detection.network import Ssd
from falconer.vision.detection.saved import load_detector, new_network, save_detector
from falconer.vision.detection.task import SsdTask, truth_of

FEWEST_PICTURES = 2


def train(config: SsdConfig, data: DetectionData, run: Run) -> None:
    """Fit SSD to the split `train` and write the model directory of `run`.

    With a split `val` its `monitor` chooses the weights, and the threshold is the score with the
    highest F1 there. Raises `DataError` for too few pictures, and what `fit` raises.
    """
    part = data.part("train")
    if len(part.pictures) < FEWEST_PICTURES or not part.n_boxes:
        raise DataError(
            f"{data.root}: {len(part.pictures)} pictures with {part.n_boxes} boxes to train on; "
            "at least two pictures and one box are needed"
        )
    valid = data.parts.get("val")
    network = begun(config, len(data.classes))
    training = config.training.model_copy(update={"seed": config.seed})
    if valid is None:
        run.log("no split val: the last weights count, and no threshold is chosen")
        training = training.model_copy(update={"monitor": None, "patience": None})
    fit(SsdTask(network, config, part, valid), training, run)
    threshold = None if valid is None else _threshold(network, config, data)
    if run.leads:
        save_detector(
            run.model_directory,
            network,
            config,
            classes=data.classes,
            threshold=threshold,
            dataset_id=data.dataset_id,
        )


def load(directory: Path, config: SsdConfig, data: DetectionData) -> Detector:
    """The detector of a model directory."""
    return load_detector(directory)[0]


def begun(config: SsdConfig, n_classes: int) -> Ssd:
    """The network as training begins with it, drawn from the configured seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return new_network(config, n_classes)


def _threshold(network: Ssd, config: SsdConfig, data: DetectionData) -> float:
    pictures = data.part("val").pictures
    founds = list(Detector(network, config).detect(pixels_of(one.path) for one in pictures))
    return best_threshold([truth_of(one) for one in pictures], founds)
