"""A training that starts from the weights of a trained run, instead of random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.models.saved import hash_of
from falconer.pipelines.runs import Run

STARTS_FROM = "starts_from"
"""In `run.json`: the model directory that a run starts from, and the hash of its files."""


def starting_from(run: Run) -> dict[str, Any]:
    """What the `run.json` of a run that starts from a finished one has to hold."""
    folder = run.model_directory.resolve()
    return {STARTS_FROM: {"run": run.name, "model": str(folder), "sha256": hash_of(folder)}}


def start_of(run: Run) -> Path | None:
    """The model directory that a run starts from, None where it starts anew; `ArtifactError` where
    that is no longer what the run began with."""
    stored = run.info.get(STARTS_FROM)
    if stored is None:
        return None
    folder = Path(stored["model"])
    if hash_of(folder) != stored["sha256"]:
        raise ArtifactError(
            f"{folder}: is not the model that {run.name} began to start from; train it anew"
        )
    return folder
