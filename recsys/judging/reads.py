"""How often the test fold was looked at, and runs that were chosen by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import ArtifactError

READS = "test-reads.jsonl"


def refuse_tuned_on(info: Mapping[str, Any], name: str, fold: Fold) -> tuple[str, ...]:
    """What `selected_on` of a run's facts says about judging it on `fold`: the fold that chose its
    epoch or knobs.

    Raises `ArtifactError` for a run that was selected on test and is judged there; on valid it is a
    warning.
    """
    if info.get("selected_on") != fold:
        return ()
    if fold == "test":
        raise ArtifactError(
            f"{name}: was selected by a metric on fold test (selected_on in run.json), so its "
            "figures there say "
            "nothing; select on valid and train anew"
        )
    return (f"selected on fold {fold}, on which it is judged here: these figures flatter it",)


@dataclass(frozen=True)
class Reads:
    """How often the test fold of a dataset was judged on, and for how many different lists."""

    times: int
    lists: int


def note_read(folder: Path, dataset_id: str, name: str) -> Reads:
    """Append to `test-reads.jsonl` in `folder` that the answers of `name` are about to be judged on
    the test fold, and count: the look is noted before it is taken, so that none is forgotten.

    `folder` is that of runs, or that beside which reports lie. Raises `ArtifactError` where the
    file is damaged.
    """
    names = [*_names(folder / READS, dataset_id), name]
    line = {
        "dataset_id": dataset_id,
        "lists": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / READS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    return Reads(len(names), len(set(names)))


def _names(path: Path, dataset_id: str) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        noted = [json.loads(line) for line in lines]
        return [line["lists"] for line in noted if line["dataset_id"] == dataset_id]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: damaged ({error}); move it away to begin a new count"
        ) from error
