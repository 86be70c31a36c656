"""The learning rate at each step, as a factor of the full rate."""

from __future__ import annotations

import math

from falconer.pipelines.training.config import Cosine, Plateau, Step, TrainingConfig
from falconer.pipelines.training.result import State


def factor_at(config: TrainingConfig, state: State, *, steps_per_epoch: int) -> float:
    """Factor of the update that comes after `state.step` updates."""
    warm = (state.step + 1) / config.warmup_steps if state.step < config.warmup_steps else 1.0
    return warm * _shape(config, state, steps_per_epoch)


def _shape(config: TrainingConfig, state: State, steps_per_epoch: int) -> float:
    match config.schedule:
        case Cosine(floor=floor):
            rest = max(1, config.epochs * steps_per_epoch - config.warmup_steps)
            done = max(0, state.step - config.warmup_steps) / rest
            return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
        case Step(milestones=milestones, factor=factor):
            passed = sum(epoch <= state.step // steps_per_epoch for epoch in milestones)
            return float(factor**passed)
        case Plateau():
            return state.plateau_factor
        case _:
            return 1.0


def after_validation(config: TrainingConfig, state: State, *, better: bool) -> None:
    """Let the schedule `plateau` see whether the monitored metric got better."""
    plateau = config.schedule
    if not isinstance(plateau, Plateau):
        return
    state.plateau_stale = 0 if better else state.plateau_stale + 1
    if state.plateau_stale > plateau.patience:
        state.plateau_factor = max(plateau.floor, state.plateau_factor * plateau.factor)
        state.plateau_stale = 0
