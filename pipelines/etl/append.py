"""Appending: a dataset's new days, read, checked and encoded alone; its train parts stay as they
are.

The result is what a full build that extends the same dataset would write, under conditions that are
checked: train grows at its end only (the protocol `temporal`, counted back from the last event),
and no threshold looks back at old train events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.etl.at_hand import at_hand
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.drift import DriftedError
from falconer.pipelines.etl.held import Days, Held
from falconer.pipelines.etl.identity import canonical_recipe
from falconer.pipelines.etl.operators import Counted, DifferenceLag
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.sources.files import day_of
from falconer.pipelines.etl.split.config import Temporal
from falconer.pipelines.files import sha256_of

IN_FULL = "build the dataset in full, without --append"


def append(recipe: EtlRecipe, parent: Path, out: Path) -> Path:
    """Build the dataset that continues `parent` with the days that it has not, below `out`; returns
    its directory, or `parent` where no day is new. Where features have drifted by more than the
    recipe's `refit_above`, all days are built anew, as a new lineage.

    Raises `ConfigError` for a recipe that cannot be appended to or is another one than the
    parent's, and `DataError` for a day that is late, doubled or changed since it was read.
    """
    source = _appendable(recipe)
    data = Dataset.open(parent)
    held = Held.of_dataset(data)

    def is_new(path: Path) -> bool:
        assert source.partition is not None
        found = day_of(path.as_posix(), source.partition)
        return found is None or found[0] not in held.days

    try:
        with at_hand(recipe, out, is_new) as local:
            return _append(local, data, held, out)
    except DriftedError as drifted:
        say(f"{drifted}; all days are built anew, and models trained anew on them")
        return build(recipe, out)


def _append(recipe: EtlRecipe, data: Dataset, held: Held, out: Path) -> Path:
    source = _appendable(recipe)
    views = recipe.split.model_copy(update={"views": data.card.split.views})
    _refuse_another_recipe(recipe, data)
    new = _new_files(source, held.days)
    if not new:
        say(f"{data.path}: no day is new, nothing to do")
        return data.path
    only = source.model_copy(update={"events": tuple(map(str, new))})
    changes = {"source": only, "extends": data.path, "split": views}
    return build(recipe.model_copy(update=changes), out, held=held)


def append_since(recipe: EtlRecipe, since: date, out: Path) -> Path:
    """As `append`, to the dataset below `out` that this recipe made and whose days reach up to the
    last one before `since`.

    Raises `ConfigError` where there is none, or where a day before `since` is not in it.
    """
    _appendable(recipe)
    known = list(_appendable_datasets(recipe, out / recipe.name))
    before = [one for one in known if max(one.days) < since.isoformat()]
    if not before:
        raise ConfigError(
            f"{out / recipe.name}: no dataset of this recipe ends before {since}; build one in "
            "full, without --since"
        )
    newest = max(before, key=lambda one: (max(one.days), len(one.days), one.data.path.name))
    with at_hand(recipe, out, lambda path: False) as local:
        there = _files_by_day(_appendable(local))
    left_out = [day for day in there if max(newest.days) < day < since.isoformat()]
    if left_out:
        raise ConfigError(
            f"{newest.data.path}: ends with {max(newest.days)}, and {min(left_out)} is there too; "
            f"append the days --since {min(left_out)}"
        )
    return append(recipe, newest.data.path, out)


def _appendable_datasets(recipe: EtlRecipe, folder: Path) -> Iterator[Held]:
    """The datasets in `folder` that days of this recipe can follow."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with suppress(ArtifactError, ConfigError):
            data = Dataset.open(path)
            _refuse_another_recipe(recipe, data)
            yield Held.of_dataset(data)


def _appendable(recipe: EtlRecipe) -> Files:
    source, split = recipe.source, recipe.split
    if not isinstance(source, Files) or source.partition is None:
        raise ConfigError(
            "--append needs source.partition, the key of the folders that hold a day each"
        )
    fixed = isinstance(split, Temporal) and (split.test_from or split.valid_from or split.until)
    features = {**recipe.features.event, **recipe.features.user, **recipe.features.item}
    rare = [
        name for name, one in features.items() if isinstance(one, Counted) and one.min_count > 1
    ]
    lags = [name for name, one in features.items() if isinstance(one, DifferenceLag)]
    if lags:
        raise ConfigError(
            f"--append cannot be had with features of kind difference_lag ({', '.join(lags)}): "
            f"they look back at train events that are written; {IN_FULL}"
        )
    refusals = {
        'task = "labels"': recipe.task != "top_n",
        "a split that is not temporal": not isinstance(split, Temporal),
        "a split with fixed boundaries": fixed,
        "[logged]": recipe.logged is not None,
        "split.targets or split.valid_by": isinstance(split, Temporal)
        and (split.targets, split.valid_by) != ("all", "time"),
        "catalogue.min_item_users or min_user_items above 1": (
            recipe.catalogue.min_item_users > 1 or recipe.catalogue.min_user_items > 1
        ),
        f"features with min_count above 1 ({', '.join(rare)})": rare,
        f'clean.deduplicate = "{recipe.clean.deduplicate}"': (
            recipe.clean.deduplicate.startswith("pairs")
        ),
    }
    for what, holds in refusals.items():
        if holds:
            raise ConfigError(
                f"--append cannot be had with {what}: it would change train events that are "
                f"written; {IN_FULL}"
            )
    return source


def _refuse_another_recipe(recipe: EtlRecipe, data: Dataset) -> None:
    """Whatever decides what a row becomes must be as it was; the clock and the views aside."""
    ours, theirs = canonical_recipe(recipe, None), dict(data.card.config)
    theirs["extends"] = None
    for one in (ours, theirs):
        one["contract"] = {k: v for k, v in one["contract"].items() if k != "latest"}
        one["split"] = {k: v for k, v in one["split"].items() if k != "views"}
    changed = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    if changed:
        raise ConfigError(
            f"{data.path}: was built with another [{'], ['.join(changed)}] than the recipe has "
            f"now; {IN_FULL}"
        )


def _new_files(source: Files, known: Days) -> list[Path]:
    """The files of days after the last known one. Only they are hashed; of known days the names and
    sizes must be as they were."""
    there = _files_by_day(source)
    last = max(known)
    hashes = {sha: day for day, files in known.items() for _, sha in files.values()}
    new: list[Path] = []
    for day, files in sorted(there.items()):
        if day in known:
            _refuse_changed(day, files, known)
        elif day < last:
            raise DataError(
                f"{source.partition}={day} is late: the dataset holds days up to {last}; {IN_FULL}"
            )
        else:
            for path in files.values():
                _refuse_double(path, source, hashes.setdefault(sha256_of(path), day), day)
            new += files.values()
    return new


def _refuse_double(path: Path, source: Files, first: str, day: str) -> None:
    """`first` is the day that has had a file of the same content first."""
    if first != day:
        raise DataError(
            f"{path}: the day is doubled, this file is the same as one of "
            f"{source.partition}={first}; take it away"
        )


def _files_by_day(source: Files) -> dict[str, dict[str, Path]]:
    """Day -> the event files in its folder, by their names there."""
    assert source.partition is not None
    there: dict[str, dict[str, Path]] = {}
    for path in source.event_paths():
        found = day_of(path.as_posix(), source.partition)
        if found is None:
            raise DataError(f"{path}: is in no folder {source.partition}=DAY")
        there.setdefault(_checked_day(found[0], path), {})[found[1]] = path
    return there


def _checked_day(value: str, path: Path) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise DataError(f"{path}: {value!r} is no day like 2024-05-31") from error


def _refuse_changed(day: str, files: dict[str, Path], known: Days) -> None:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    before = {name: size for name, (size, _) in known[day].items()}
    changed = sorted(name for name in {*sizes, *before} if sizes.get(name) != before.get(name))
    if changed:
        raise DataError(
            f"the day {day} was read already and is another one now ({', '.join(changed)}); "
            f"{IN_FULL}"
        )
