"""A recipe without each of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falconer.pipelines.training.config import Constant, TrainingConfig
from falconer.vision.config import AugmentConfig, VisionConfig

WHOLE = "whole recipe"
AUGMENT = ("crop", "flip", "trivial", "erasing", "mixup", "cutmix")
TRAINING: Mapping[str, Any] = {
    "label_smoothing": 0.0,
    "ema_decay": None,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "clip_norm": None,
}
"""Part -> its value where it is left out."""


def variants(config: VisionConfig) -> dict[str, VisionConfig]:
    """Name -> recipe: the whole one, and one without each part that it has.

    Besides the parts of [augment] and the knobs in `TRAINING` these are the schedule (the rate
    stays), no weight decay on normalisation (all weights decay), and the test size (FixRes).
    """
    found = {WHOLE: config}
    nothing = AugmentConfig()
    for name in AUGMENT:
        if getattr(config.augment, name) != getattr(nothing, name):
            augment = config.augment.model_copy(update={name: getattr(nothing, name)})
            found[f"no {name}"] = config.model_copy(update={"augment": augment})
    training = config.training
    for name, absent in TRAINING.items():
        if getattr(training, name) != absent:
            found[f"no {name}"] = _with(config, {name: absent})
    if not isinstance(training.schedule, Constant):
        found["no schedule"] = _with(config, {"schedule": Constant()})
    if training.weight_decay and not training.decay_all:
        found["decay everywhere"] = _with(config, {"decay_all": True})
    if config.pictures.test_size not in (None, config.pictures.size):
        pictures = config.pictures.model_copy(update={"test_size": None})
        found["no test_size"] = config.model_copy(update={"pictures": pictures})
    return found


def _with(config: VisionConfig, update: Mapping[str, Any]) -> VisionConfig:
    training: TrainingConfig = config.training.model_copy(update=dict(update))
    return config.model_copy(update={"training": training})
