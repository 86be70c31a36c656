"""How long a model is trained that is fitted anew: as many epochs as the run before it chose."""

from __future__ import annotations

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.config import TrainingConfig

CHOSEN = "chosen_epochs"
"""In `run.json`: fit's name -> epochs after which its chosen weights were reached."""
REFIT = "refit_epochs"
"""In `run.json` of a run that fits anew: the same of the run that chose."""


def total_steps(config: TrainingConfig, run: Run, name: str, steps_per_epoch: int) -> int:
    """Updates of the weights in all. Schedules still run towards the end of `config.epochs`, as
    they did where the epoch was chosen.

    Raises `ArtifactError` where the run that chose did not have this fit.
    """
    chosen = run.info.get(REFIT)
    if chosen is None:
        return config.epochs * steps_per_epoch
    if name not in chosen:
        raise ArtifactError(
            f"{run.path}: the run that it fits anew did not choose an epoch of "
            f"{name or 'the model'}; "
            "train that again"
        )
    steps = round(float(chosen[name]) * steps_per_epoch)
    return max(1, min(config.epochs * steps_per_epoch, steps))


def keep_chosen(run: Run, name: str, epochs: float) -> None:
    """Record the epochs after which the weights that a fit chose were reached."""
    run.update(**{CHOSEN: {**run.info.get(CHOSEN, {}), name: epochs}})
