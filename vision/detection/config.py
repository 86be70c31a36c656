"""The knobs of SSD. Importing this module needs pydantic only."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.training.config import Cosine, TrainingConfig
from falconer.vision.config import IMAGENET_MEAN, IMAGENET_STD, NetworkConfig

TRUNKS = ("resnet18", "resnet34", "resnet50", "efficientnet_lite0")


class AugmentConfig(Config):
    """Which changes a training picture gets; each with its chance in `sample`."""

    photometric: bool = True
    """Brightness, contrast, saturation and hue."""
    zoom_out: float = 4.0
    """Half of the pictures are laid on a grey sheet up to so many times as wide; 1 = never."""
    crop: bool = True
    """A cut-out that overlaps some true box by a drawn share."""
    flip: bool = True
    """Half of the pictures are mirrored, left to right."""
    turn: bool = False
    """Half of the pictures are mirrored top to bottom, and half transposed: for pictures without an
    up, such as those of a microscope."""


class DetectionTraining(TrainingConfig):
    """The training loop's knobs with SSD's defaults: SGD, cosine, a warm-up, the best map@.5."""

    epochs: int = Field(default=60, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Cosine = Cosine()
    warmup_steps: int = Field(default=50, ge=0)
    clip_norm: float | None = Field(default=10.0, gt=0)
    monitor: str | None = "map@.5"
    batch_size: int = Field(default=8, ge=2)
    """Pictures in a batch; of one alone the smallest map has a single value, and no spread."""


class SsdConfig(Config):
    """SSD on a trunk of a classification network."""

    network: NetworkConfig = NetworkConfig(name="resnet50")
    """What the trunk is the beginning of: resnet18, resnet34, resnet50 or efficientnet_lite0."""
    frozen_stages: int = Field(default=0, ge=0, le=6)
    """So many parts of the trunk keep their weights: 1 is the stem alone."""
    size: int = Field(default=300, ge=160, le=1024)
    """Pictures are scaled to a square of so many pixels a side."""
    clamped: bool = False
    """Cut default boxes at the rim before corners are made, as NVIDIA's example does."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    augment: AugmentConfig = AugmentConfig()
    lowest_score: float = Field(default=0.02, ge=0, lt=1)
    overlap: float = Field(default=0.5, gt=0, lt=1)
    """Of two boxes of a class that overlap by more, the surer one is kept."""
    most_a_class: int = Field(default=400, ge=1)
    most: int = Field(default=200, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    training: DetectionTraining = DetectionTraining()

    @model_validator(mode="after")
    def _has_a_trunk(self) -> Self:
        if self.network.name not in TRUNKS:
            raise ValueError(f"network.name must be one of {', '.join(TRUNKS)}")
        return self
