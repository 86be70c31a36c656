"""Where a pipeline keeps what: the only module that knows the names of its folders and files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from glob import escape
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from falconer.pipelines.console import warn
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import read_json
from falconer.workflows.retraining.config import Pipeline

DECISION = "decision.json"
FAILED = "failed.json"
OBSERVED = "observed.json"
EVIDENCE = "evidence.json"
PAGE, STATUS_PAGE = "verdict.html", "status.html"
CALIBRATION = "calibration.json"
LAST_STEP = "publish"
DATASET = "dataset.json"
MODEL = "model.json"
HISTORY = "history.jsonl"
UNTOLD = "untold.json"
PROFILE = "profile.json"


def _day(name: str) -> str:
    date.fromisoformat(name)
    return name


class _Profile(BaseModel):
    """What later windows are compared with; earlier releases wrote no days."""

    model_config = ConfigDict(strict=True)

    events: int
    days: dict[Annotated[str, AfterValidator(_day)], int] = {}
    distributions: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Places:
    """The folders of one pipeline below its root."""

    root: Path
    name: str

    @classmethod
    def of(cls, pipeline: Pipeline) -> Places:
        """Those of `pipeline`."""
        return cls(pipeline.root, pipeline.name)

    @property
    def data(self) -> Path:
        """Datasets, shared by the pipelines of this root."""
        return self.root / "data"

    @property
    def runs(self) -> Path:
        """Run directories of this pipeline."""
        return self.root / "runs" / self.name

    @property
    def windows(self) -> Path:
        """One folder a window, by its name."""
        return self.root / "windows" / self.name

    @property
    def registry(self) -> Path:
        """The champion, the ledger, the key and the workflows' state."""
        return self.root / "registry" / self.name

    @property
    def lists(self) -> Path:
        """The champion's lists for everybody; `latest` in it is what to serve."""
        return self.root / "recommendations" / self.name

    def everybody(self, name: str) -> Path:
        """A query for each user, as of the end of the window."""
        return self.window(name) / "everybody"

    def window(self, name: str) -> Path:
        """The folder of one window."""
        return self.windows / name

    def judged(self, name: str, label: str) -> Path:
        """Lists and report of one model on one window."""
        return self.window(name) / "judged" / label

    def trained_before(self, name: str, label: str) -> Path | None:
        """The file about the model of this label on the last window before `name` that has one."""
        found = sorted(self.windows.glob(f"*/judged/{escape(label)}/{MODEL}"))
        earlier = [path for path in found if path.parents[2].name < name]
        return earlier[-1] if earlier else None

    def decided(self) -> list[str]:
        """The windows that have a decision, oldest first."""
        return self._with(DECISION)

    def finished(self, name: str) -> bool:
        """Whether the window is decided, and its run came to its end: a run that was killed behind
        the decision still owes the lists and the page."""
        if not (self.window(name) / DECISION).exists():
            return False
        steps = self.observed(name)["steps"]
        return bool(steps) and bool(steps[-1]["step"] == LAST_STEP)

    def observed(self, name: str) -> dict[str, Any]:
        """What clocks said of the window's steps. Nothing depends on it, so that a file that is
        gone or damaged is one of no steps."""
        try:
            found = read_json(self.window(name) / OBSERVED)
        except ArtifactError:
            found = None
        facts = found if isinstance(found, dict) else {}
        steps = facts.get("steps")
        listed = steps if isinstance(steps, list) else []
        return {
            **facts,
            "steps": [one for one in listed if isinstance(one, dict) and "step" in one],
        }

    def last_day(self, name: str) -> date | None:
        """The last day that the window was judged on; None where that was not written down."""
        found = self.profile(name)
        days = found.get("days") if found else None
        return date.fromisoformat(max(days)) if days else None

    def profile(self, name: str) -> dict[str, Any] | None:
        """Counts of the window's events; None where they were not written down, and, with a
        warning, where the file is damaged: no other window depends on it."""
        path = self.window(name) / PROFILE
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = read_json(path)
            _Profile.model_validate(found)
        except (ArtifactError, ValidationError):
            warn(f"warning: {path}: damaged, so that no window is compared with {name}")
            return None
        return found

    def has_signed(self) -> bool:
        """Whether there is a decision, or a change of the champion."""
        return (self.registry / HISTORY).exists() or bool(self.decided())

    def failed(self) -> list[str]:
        """The windows whose last run ended in an error, oldest first."""
        return [name for name in self._with(FAILED) if not self.finished(name)]

    def _with(self, file: str) -> list[str]:
        """The windows whose folders have this file, oldest first; there may be thousands."""
        windows = str(self.windows)
        names = os.listdir(windows) if os.path.isdir(windows) else []  # noqa: PTH112, PTH208
        return sorted(name for name in names if os.path.exists(f"{windows}/{name}/{file}"))  # noqa: PTH110

    def dataset_before(self, name: str) -> Path | None:
        """The dataset of the last window before `name` that has one."""
        earlier = [window for window in self._with(DATASET) if window < name]
        return self.dataset(earlier[-1]) if earlier else None

    def newest_with_dataset(self) -> str | None:
        """The last window that has a dataset: a refused one has none."""
        found = self._with(DATASET)
        return found[-1] if found else None

    def dataset(self, name: str) -> Path:
        """The dataset that the window was judged on; `ArtifactError` where it has none, or none any
        more."""
        facts = self.window(name) / DATASET
        if not facts.exists():
            raise ArtifactError(
                f"{name}: this window has no dataset: it was not run yet, or its input was refused"
            )
        path = self.root / str(read_json(facts)["path"])
        if not path.exists():
            raise ArtifactError(
                f"{path}: the dataset of window {name} is not there any more (`falconer prune` "
                "removes those of old windows); bring it back from a copy, or take a newer window"
            )
        return path
