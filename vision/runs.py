"""What a run of this wing is of, and whether it has a model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.models.saved import CARD
from falconer.pipelines.runs import Run
from falconer.vision.config import NetworkName
from falconer.vision.detection.registry import REGISTRY

Kind = Literal["classifier", "detector"]
RESUME = {
    "classifier": "falconer vision train --resume",
    "detector": "falconer vision detector train --resume",
}


def kind_of(run: Run) -> Kind | None:
    """What the run trained; None where it is no run of pictures."""
    model = run.info["model"]
    if model in get_args(NetworkName):
        return "classifier"
    return "detector" if model in REGISTRY.names() else None


def finished_run(path: Path) -> Run:
    """The run at `path`; `ArtifactError` where it is none of pictures, or did not finish, so that
    it has no model."""
    run = Run.open(path)
    kind, status = kind_of(run), run.info.get("status")
    if kind is None:
        raise ArtifactError(f"{path}: a run of {run.info['model']}, which is no model of pictures")
    if status != "finished":
        raise ArtifactError(
            f"{path}: this run is {status}, so it has no model; go on with `{RESUME[kind]} {path}`"
        )
    return run


def model_directory(path: Path) -> Path:
    """The model directory that `path` is, or that of the finished run at `path`."""
    return path if (path / CARD).is_file() else finished_run(path).model_directory
