"""What `run.json` says of a run: its facts, checked when they are read, and its surroundings."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import read_json

REPORTED_PACKAGES = (
    "falconer",
    "numpy",
    "scipy",
    "pyarrow",
    "pandas",
    "polars",
    "implicit",
    "torch",
    "tensorflow",
)

STATUSES = ("running", "finished", "failed", "interrupted", "stopped")
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "status": str,
    "name": str,
    "model": str,
    "backend": str,
    "started": str,
    "since": str,
    "seconds": (int, float),
    "versions": dict,
    "dataset_path": str,
    "dataset_id": str,
    "id_space": (str, list),
    "label": str,
}
"""Key of `run.json` -> what it holds wherever it is there: the file may be anybody's."""


class Facts(dict[str, Any]):
    """The content of a `run.json`; a key that is not there is an `ArtifactError` that names it."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise ArtifactError(f"{self._path}: it has no {key!r}; is it a run of falconer?")


def read_facts(path: Path) -> Facts:
    """The facts in a `run.json`; `ArtifactError` where it is no table, or a value not of its
    type."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ArtifactError(f"{path}: not the facts of a run (a table is wanted)")
    for key, kind in TYPES.items():
        if values.get(key) is not None and not isinstance(values[key], kind):
            raise ArtifactError(f"{path}: {key} cannot be {values[key]!r:.60}")
    if not math.isfinite(values.get("seconds") or 0):
        raise ArtifactError(f"{path}: seconds cannot be {values['seconds']}")
    if values.get("status", "running") not in STATUSES:
        raise ArtifactError(f"{path}: status is {values['status']!r:.60}, none of {STATUSES}")
    for key in ("started", "since"):
        try:
            datetime.fromisoformat(values.get(key) or "2000-01-01")
        except ValueError as error:
            raise ArtifactError(f"{path}: {key} is no time: {values[key]!r:.60}") from error
    return Facts(path, values)


def surroundings() -> dict[str, Any]:
    """When, on what and with what this run is made."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git_revision(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version for name in REPORTED_PACKAGES if (version := version_of(name))},
    }


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit of the source tree, with `+changes` where it differs; None outside a git
    checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+changes"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
