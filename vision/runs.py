"""What a run of this wing is of, and whether it has a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import read_json
from falconer.pipelines.models.saved import CARD
from falconer.pipelines.runs import Run
from falconer.vision.config import NetworkName
from falconer.vision.detection.registry import REGISTRY

Kind = Literal["classifier", "detector"]
COMMANDS: Mapping[Kind, str] = {
    "classifier": "`falconer vision train`, `evaluate` and `predict`",
    "detector": "`falconer vision detector train` and `evaluate`, and `falconer vision detect`",
}
RESUME: Mapping[Kind, str] = {
    "classifier": "falconer vision train --resume",
    "detector": "falconer vision detector train --resume",
}


def kind_of(run: Run) -> Kind | None:
    """What the run trained; None where it is no run of pictures."""
    return _kind_of(run.info["model"])


def finished_run(path: Path, wanted: Kind | None = None) -> Run:
    """The run at `path`; `ArtifactError` where it is none of pictures, or not of the kind that is
    wanted, or did not finish, so that it has no model."""
    run = Run.open(path)
    kind, status = _checked(path, run.info["model"], wanted), run.info.get("status")
    if status != "finished":
        raise ArtifactError(
            f"{path}: this run is {status}, so it has no model; go on with `{RESUME[kind]} {path}`"
        )
    return run


def model_directory(path: Path, wanted: Kind) -> Path:
    """The model directory that `path` is, or that of the finished run at `path`; `ArtifactError`
    where it is of another kind."""
    if not (path / CARD).is_file():
        return finished_run(path, wanted).model_directory
    values = read_json(path / CARD)
    _checked(path, values.get("name") if isinstance(values, dict) else None, wanted)
    return path


def _kind_of(model: object) -> Kind | None:
    if model in get_args(NetworkName):
        return "classifier"
    return "detector" if model in REGISTRY.names() else None


def _checked(path: Path, model: object, wanted: Kind | None) -> Kind:
    kind = _kind_of(model)
    if kind is None:
        raise ArtifactError(f"{path}: holds {model}, which is no model of pictures")
    if wanted not in (None, kind):
        raise ArtifactError(f"{path}: a {kind}, not a {wanted}; its commands are {COMMANDS[kind]}")
    return kind
