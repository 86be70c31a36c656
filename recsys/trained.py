"""What commands that work with a trained run share: they open the run and the dataset, and mirror the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipelines import tracking
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


def mirror_apart(run_path: Path) -> None:
    """Mirror the run in a process of its own, so that no framework is loaded here; never fatal."""
    if not tracking.is_on():
        return
    try:
        subprocess.run([sys.executable, "-m", "pipelines.tracking", str(run_path)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"warning: {run_path} is not mirrored to MLflow: {error}", file=sys.stderr, flush=True)
