"""The knobs of image classification. Importing this module needs pydantic only."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.training.config import Cosine, Schedule, TrainingConfig

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

NetworkName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "cifar_resnet20",
    "cifar_resnet32",
    "cifar_resnet44",
    "cifar_resnet56",
    "efficientnet_lite0",
]
Share = Annotated[float, Field(ge=0, le=1)]


class NetworkConfig(Config):
    """Which network, and the weights that it begins with."""

    name: NetworkName = "resnet18"
    version: Literal["v1", "v1.5"] | None = None
    """Where a bottleneck halves the sides; what the weights say, else v1.5."""
    batch_norm_eps: float | None = Field(default=None, gt=0)
    """What the weights say, else 1e-5."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the features, before the head."""
    weights: str | None = None
    """A safetensors file, or "https://...#sha256=..."; drawn at random where left out."""


class PicturesConfig(Config):
    """How a picture becomes the network's input. It is saved with the model.

    The shorter side is scaled to `size` / `share`, the middle `size` x `size` is taken, and each
    channel becomes (value / 255 - mean) / std.
    """

    size: int = Field(default=224, ge=8, le=1024)
    share: float = Field(default=0.875, gt=0, le=1)
    channels: Literal[1, 3] = 3
    """1 takes the luminance."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    test_size: int | None = Field(default=None, ge=8, le=1024)
    """Another `size` for judging and predicting: objects look larger in random crops than in middle
    ones, and a larger test size makes up for it (Touvron et al. 2019, FixRes)."""

    @model_validator(mode="after")
    def _one_per_channel(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        return self


class AugmentConfig(Config):
    """Changes of training pictures; all are off by default."""

    crop: Literal["none", "random_resized", "padded"] = "none"
    """random_resized: a part of `crop_area` of the picture, scaled to the size (Szegedy et al.
    2015); padded: the picture with a rim of `padding` black pixels, from which the size is cut (He
    2016)."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    padding: int = Field(default=4, ge=1)
    flip: bool = False
    """Half of the pictures are mirrored, left to right."""
    trivial: bool = False
    """TrivialAugment (Mueller and Hutter 2021): one change of a strength, both drawn evenly."""
    erasing: Share = 0.0
    """Chance that a rectangle is replaced by noise (Zhong et al. 2020)."""
    mixup: float = Field(default=0.0, ge=0)
    """alpha of the Beta distribution that two pictures are mixed by (Zhang et al. 2018); 0 =
    never."""
    cutmix: float = Field(default=0.0, ge=0)
    """alpha of the Beta distribution of the area that comes from another picture (Yun et al.
    2019)."""


class ImageTraining(TrainingConfig):
    """The training loop's knobs, and those of a classifier."""

    epochs: int = Field(default=10, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0)
    schedule: Schedule = Cosine()
    weight_decay: float = Field(default=5e-4, ge=0)
    decay_all: bool = False
    """Whether biases and normalisation decay too; by default only weights of two and more
    dimensions do."""
    batch_size: int = Field(default=128, ge=1)
    """Pictures in a batch."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    monitor: str | None = "top1"
    keep_statistics: bool = False
    """Whether normalisation keeps the statistics that its weights came with: for fine-tuning, whose
    few steps are not enough to learn others."""
    rate_decay: float = Field(default=1.0, gt=0, le=1)
    """The learning rate of each part before the head is so many times that of the part after it."""


class HeadTraining(ImageTraining):
    """The knobs of a new head on the features of a frozen network."""

    epochs: int = Field(default=100, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)


class VisionConfig(Config):
    """A recipe of image classification."""

    head: HeadTraining | None = None
    """First the head alone is trained, on features that are extracted once: no picture is
    changed."""
    unfreezing: tuple[str, ...] = ("stem",)
    """Then `training` is run once for each of these: that part of the network and those after it
    are trained. "stem" is everything; ("layer4", "layer2") unfreezes by stages; () keeps the
    head's."""

    network: NetworkConfig = NetworkConfig()
    pictures: PicturesConfig = PicturesConfig()
    augment: AugmentConfig = AugmentConfig()
    training: ImageTraining = ImageTraining()
    first_look: bool = True
    """Whether a copy of the network must first learn eight pictures by heart."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if not self.unfreezing and self.head is None:
            raise ValueError("neither [head] nor unfreezing: nothing would be trained")
        return self

    def seeded(self, training: TrainingConfig) -> TrainingConfig:
        """The training with the recipe's seed."""
        return training.model_copy(update={"seed": self.seed})
