"""Old models, datasets and lists go; what an alias or a verdict refers to stays.

Of the newest windows everything stays. Of the older ones stay the decisions and all that they are
replayed from, every model that ever was champion or anchor, the profiles that drift is calibrated
on, and the newest dataset, which the next window continues even where all windows since were
refused. Datasets are shared: one that any other pipeline of this root refers to stays too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.files import read_json, remove_directory, remove_file
from falconer.recsys.lists import parquet as lists
from falconer.recsys.recommending.everybody import LATEST
from falconer.workflows.retraining import champions, lock
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import DATASET, MODEL, Places


def prune(pipeline: Pipeline, *, keep: int, dry: bool) -> list[tuple[Path, int]]:
    """Remove what no window but the newest `keep` decided ones needs; returns each path and its
    bytes. `dry`: remove nothing. Raises `BusyError` while a retrain runs."""
    if keep < 1:
        raise ConfigError(f"--keep {keep}: the newest window is what the next one continues")
    places = Places.of(pipeline)
    with lock.locked(pipeline):
        found = [(path, _bytes(path)) for path in unneeded(places, keep)]
        for path, _ in [] if dry else found:
            _remove(path)
    return found


def unneeded(places: Places, keep: int) -> list[Path]:
    """What can go, sorted."""
    old = places.decided()[:-keep]
    found = {*_runs(places, old), *_datasets(places, old), *_lists(places, old)}
    for window in old:
        found |= {places.everybody(window), places.window(window) / "again"}
        found |= set(places.window(window).glob(f"judged/*/*/{lists.FILE}"))
    return sorted(path for path in found if path.exists())


def _runs(places: Places, old: list[str]) -> set[Path]:
    models = {path: read_json(path) for path in places.windows.glob(f"*/judged/*/{MODEL}")}
    newest: dict[str, Any] = {}
    for path in sorted(models):
        newest[models[path]["label"]] = models[path]
    needed = [
        *newest.values(),
        *(model for path, model in models.items() if path.parents[2].name not in old),
        *_ever_served(places),
    ]
    every = {places.root / model["run"] for model in models.values()}
    return every - {places.root / model["run"] for model in needed}


def _ever_served(places: Places) -> Iterator[dict[str, Any]]:
    """Champions, those before them and anchors, of every change that was recorded."""
    for change in champions.history(places):
        states = change["champion"]
        yield from (states[name] for name in ("champion", "previous", "anchor") if states[name])


def _datasets(places: Places, old: list[str]) -> set[Path]:
    needed, every = set(), set()
    serving = {model["window"] for model in _ever_served(places)}
    newest = places.newest_with_dataset()
    for path in places.root.glob(f"windows/*/*/{DATASET}"):
        facts = read_json(path)
        pipeline, window = path.parents[1].name, path.parent.name
        mine = pipeline == places.name and window in old
        if mine:
            every.add(places.root / facts["path"])
        if not mine or window in serving or window == newest:
            needed |= {places.root / facts[name] for name in ("path", "parent") if facts[name]}
    return every - needed


def _lists(places: Places, old: list[str]) -> set[Path]:
    latest = places.lists / LATEST
    served = latest.resolve() if latest.exists() else None
    versions = {
        path for window in old for path in places.lists.glob(f"lists/window={window}/version=*")
    }
    return {path for path in versions if path.resolve() != served}


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(part.lstat().st_size for part in path.rglob("*") if part.is_file())


def _remove(path: Path) -> None:
    if path.is_file():
        remove_file(path)
    else:
        remove_directory(path)
