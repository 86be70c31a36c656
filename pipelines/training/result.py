"""What a training is besides its tensors, and what it tells about itself at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["epochs", "patience"]


@dataclass
class State:
    """Where a training stands: every number that a resumed training needs to go on as if nothing
    had happened."""

    step: int = 0
    """Updates of the weights so far."""
    samples: int = 0
    """Rows trained on so far, over all processes."""
    loss_sum: float = 0.0
    """Loss x rows since the last line of `metrics.jsonl`."""
    loss_rows: int = 0
    best_step: int = 0
    best_metric: float | None = None
    stale: int = 0
    """Validations in a row without a better metric."""
    plateau_factor: float = 1.0
    """What the schedule `plateau` has made of the learning rate."""
    plateau_stale: int = 0
    """As `stale`, since the last reduction."""
    ended: Ending | None = None
    metrics_bytes: int = 0
    """Length of `metrics.jsonl` at this point."""
    seconds: float = 0.0
    step_seconds: float = 0.0
    """Of `seconds`, those that went into steps and not into validations and checkpoints."""


@dataclass(frozen=True)
class FitResult:
    """How a training went; the weights that it chose are in the task's model."""

    steps: int
    """Updates of the weights."""
    epochs: float
    """Passes over the batches; a fraction where training stopped within one."""
    best_step: int
    """Step after which the chosen weights were reached."""
    best_metric: float | None
    """The monitored metric there; None without one."""
    ended: Ending
    """All epochs done, or stopped early for want of patience."""
    samples: int
    """Rows trained on, over all processes."""
    seconds: float
    """Time in the loop, without what a kill undid; validations and checkpoints included."""
    samples_per_second: float
    """Rows over the time of the steps alone."""
