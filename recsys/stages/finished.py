"""What commands that work with a trained run share: they open the run and the dataset, and mirror
the run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falconer.pipelines import tracking
from falconer.pipelines.console import say, warn
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import TaskName
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.runs import RUN_FILE, Run
from falconer.recsys.judging.stored import REPORT
from falconer.recsys.stages.answers import Answers
from falconer.recsys.stages.of_labels import LabelAnswers
from falconer.recsys.stages.of_lists import ListAnswers

REFIT_OF = "refit_of"
"""In `run.json` of a run that fits anew on train and validation: the run that chose its knobs."""
TRAIN_AND_VALID = "train and validation, with knobs and epoch chosen before"
ANSWERS: Mapping[TaskName, Answers[Any]] = {"top_n": ListAnswers(), "labels": LabelAnswers()}
"""What a run of each task is judged by."""


def finished_run(path: Path) -> Run:
    """The run at `path`; `ArtifactError` where it did not finish, so that it has no model."""
    run = Run.open(path)
    status = run.info.get("status")
    if status != "finished":
        raise ArtifactError(
            f"{path}: this run is {status}, so it has no model; go on with `falconer train "
            f"--resume {path}`"
        )
    return run


def dataset_of(run: Run, given: Path | None) -> Dataset:
    """The given dataset, or the one that the run was trained on."""
    path = given or Path(str(run.info["dataset_path"]))
    if not path.exists():
        raise ArtifactError(
            f"{path}: the dataset of {run.name} is no longer there; say where with --data DIR"
        )
    return Dataset.open(path)


def runs_and_reports(paths: Sequence[Path]) -> list[Path]:
    """The runs and the folders with reports among `paths`, each once; a note names what else there
    is among them.

    Raises `ArtifactError` for a path that does not exist, and where there are no runs or reports.
    """
    given = list(dict.fromkeys(path.resolve() for path in paths))
    _refuse_absent(given)
    found = [path for path in given if (path / RUN_FILE).is_file() or any(path.glob(f"*/{REPORT}"))]
    others = ", ".join(path.name for path in given if path not in found)
    if given and not found:
        raise ArtifactError(
            f"{others}: neither a run nor a folder of reports; name what `falconer evaluate` "
            "printed"
        )
    if others:
        say(f"note: passed over, neither a run nor a folder of reports: {others}")
    return found


def each_of(paths: Sequence[Path]) -> list[Path]:
    """The one path that was given, whatever it is; of several, as of all that a folder of runs
    holds, the finished runs. Raises `ArtifactError` where one of several does not exist, or none is
    a finished run."""
    given = list(dict.fromkeys(paths))
    if len(given) == 1:
        return given
    _refuse_absent(given)
    found = [path for path in given if _is_finished(path)]
    others = ", ".join(str(path) for path in given if path not in found)
    if not found:
        raise ArtifactError(f"{others}: none of these is a finished run; name runs, or one file")
    if others:
        say(f"note: passed over, no finished run: {others}")
    return found


def _refuse_absent(paths: Sequence[Path]) -> None:
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise ArtifactError(f"{', '.join(absent)}: no such run, file or folder of reports")


def _is_finished(path: Path) -> bool:
    return (path / RUN_FILE).is_file() and Run.open(path).info.get("status") == "finished"


def mirror_apart(run_path: Path) -> None:
    """Mirror the run in a process of its own, so that no framework is loaded here; never fatal."""
    if not tracking.is_on():
        return
    try:
        subprocess.run(
            [sys.executable, "-P", "-m", "falconer.pipelines.tracking", str(run_path)], check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        warn(f"warning: {run_path} is not mirrored to MLflow: {error}")
