"""What a fit tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    ended: Literal["epochs", "patience"]
    """All epochs done, or stopped early."""
    samples: int
    """Rows trained on, over all processes."""
    seconds: float
    """Time within the loop, validation and checkpoints included; work lost to a kill is not."""
    samples_per_second: float
    """Rows over the time of training steps alone, this process's life; 0 where there was nothing left to do."""
