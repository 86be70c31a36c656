"""A trained detector as a directory: weights, classes, preprocessing and threshold."""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.models import saved
from falconer.pipelines.training.weights import copy_into, tensors_of
from falconer.vision.detection.config import SsdConfig
from falconer.vision.detection.detector import Detector
from falconer.vision.detection.network import Ssd
from falconer.vision.detection.trunks import trunk_of
from falconer.vision.networks.weights import read_weights, save_weights

NAME, BACKEND = "ssd", "torch"
WEIGHTS = "weights.safetensors"


class DetectorCard(saved.Card):
    """The content of `model.json` of a detector."""

    classes: tuple[str, ...]
    threshold: float | None
    """Score from which on a detection counts, chosen on the validation split."""
    dataset_id: str


class SavedNetwork:
    """What `saved.save` asks to write itself down."""

    def __init__(self, network: Ssd) -> None:
        self._network = network

    def save(self, directory: Path) -> None:
        """Write the weights."""
        save_weights(self._network, directory / WEIGHTS, {})


def new_network(config: SsdConfig, n_classes: int) -> Ssd:
    """The network with the weights that it begins with; draws from torch's global generator."""
    trunk, channels = trunk_of(config)
    return Ssd(trunk, channels, n_classes, config.size, clamped=config.clamped)


def save_detector(
    target: Path,
    network: Ssd,
    config: SsdConfig,
    *,
    classes: tuple[str, ...],
    threshold: float | None,
    dataset_id: str,
) -> None:
    """Write the directory, atomically; `detect` needs nothing else."""
    card = DetectorCard(
        name=NAME,
        backend=BACKEND,
        config=config.model_dump(mode="json"),
        classes=classes,
        threshold=threshold,
        dataset_id=dataset_id,
    )
    saved.save(target, SavedNetwork(network), card)


def load_detector(directory: Path) -> tuple[Detector, DetectorCard, SsdConfig]:
    """Read what `save_detector` wrote; `ArtifactError` where it is damaged or of another model."""
    card = saved.read_card(directory, DetectorCard)
    if (card.name, card.backend) != (NAME, BACKEND):
        raise ArtifactError(f"{directory}: holds {card.name} on {card.backend}, not a detector")
    saved.verify(directory, card)
    config = parse(SsdConfig, card.config, str(directory / saved.CARD))
    begun = config.network.model_copy(update={"weights": None})
    network = new_network(config.model_copy(update={"network": begun}), len(card.classes))
    copy_into(tensors_of(network), read_weights(directory / WEIGHTS).tensors, str(directory))
    return Detector(network.eval(), config), card, config
