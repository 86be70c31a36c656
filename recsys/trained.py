"""What a command that works with a trained run opens: the run, and the dataset."""

from __future__ import annotations

from pathlib import Path

from pipelines.data.dataset import Dataset
from pipelines.errors import ArtifactError
from pipelines.runs import Run


def finished_run(path: Path) -> Run:
    """The run at `path`; `ArtifactError` where it did not finish, so that it has no model."""
    run = Run.open(path)
    status = run.info.get("status")
    if status != "finished":
        raise ArtifactError(
            f"{path}: this run is {status}, so it has no model; go on with `falconer train --resume {path}`"
        )
    return run


def dataset_of(run: Run, given: Path | None) -> Dataset:
    """The given dataset, or the one that the run was trained on."""
    path = given or Path(str(run.info["dataset_path"]))
    if not path.exists():
        raise ArtifactError(f"{path}: the dataset of {run.name} is no longer there; say where with --data DIR")
    return Dataset.open(path)
