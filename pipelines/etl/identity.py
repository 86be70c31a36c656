"""What a dataset follows from, and the id that names it: the same id means the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path, PurePath
from typing import Any

from falconer.pipelines.data.schema import FORMAT_VERSION, LAYERED_VERSION
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.held import Days
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.sources.files import day_of
from falconer.pipelines.extras import missing_engine
from falconer.pipelines.files import identity_of, sha256_of

PACKAGES = ("falconer", "polars", "pyarrow")
"""Whose versions decide what bytes are written; the engine's besides."""

REVISION = 5
"""One more wherever the same inputs come out as other bytes, so that no earlier dataset is taken
for the new one. 2: features of new items, train in parts of 2^20 rows. 3: the last digits of
standard deviations by the engine nvtabular. 4 and 5: ids are written byte
by byte, smaller row groups, and no nulls in what models learn from."""

IDLE = ("memory_limit", "workers", "gpu", "refit_above")
"""Of a recipe, what decides nothing that a dataset holds."""

CUDF_POLARS = ("cudf-polars-cu12", "cudf-polars-cu13")
"""One for each major version of CUDA."""

Signature = tuple[int, int, int, int]


class SourceChangedError(DataError):
    """A source was another one after it was read than before."""


class Sources:
    """The files of a recipe's source, with their checksums and what tells that one changed."""

    def __init__(self, recipe: EtlRecipe) -> None:
        self._recipe = recipe
        self._signatures = _signatures(recipe.files())
        self.checksums = [sha256_of(path) for path in recipe.files().values()]
        """In the order in which they are read."""

    def refuse_change(self) -> None:
        """Raise `SourceChangedError` where a file came, went or changed since."""
        now = _signatures(self._recipe.files())
        changed = sorted(
            name
            for name in {*self._signatures, *now}
            if self._signatures.get(name) != now.get(name)
        )
        if changed:
            raise SourceChangedError(
                f"{', '.join(changed)}: changed while it was read; wait until it is whole, then "
                "start again"
            )

    def days(self, partition: str) -> Days:
        """The event files by the day whose folder they are in."""
        days: Days = {}
        events = self._recipe.source.files()
        for path, checksum in zip(self._signatures, self.checksums, strict=True):
            if path in events and (found := day_of(path, partition)) is not None:
                size = self._signatures[path][1]
                days.setdefault(found[0], {})[found[1]] = [size, checksum]
        return days

    def named(self) -> dict[str, str]:
        """File name -> checksum; folders do not count, and equal names are numbered."""
        found: dict[str, str] = {}
        for path, checksum in zip(self._signatures, self.checksums, strict=True):
            name, number = PurePath(path).name, 2
            while name in found:
                name, number = f"{PurePath(path).name} ({number})", number + 1
            found[name] = checksum
        return found


def _signatures(files: Mapping[str, Path]) -> dict[str, Signature]:
    stats = {name: path.stat() for name, path in files.items()}
    return {
        name: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        for name, stat in stats.items()
    }


def canonical_recipe(recipe: EtlRecipe, parent: str | None) -> dict[str, Any]:
    """The whole recipe, all defaults frozen in, without paths: what was read is told by checksums,
    and what is extended by its dataset_id."""
    absent = {"logged"} if recipe.logged is None else set[str]()
    values = _without_paths(recipe.model_dump(mode="json", exclude={*IDLE, *absent}))
    if isinstance(recipe.source, Files) and not recipe.source.external:
        del values["source"]["external"]
    if isinstance(recipe.source, Files) and recipe.source.parts is not None:
        files = {part: len(paths) for part, paths in recipe.source.part_paths().items()}
        values["source"]["parts"] = files
    return {**values, "extends": parent}


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    source = {key: value for key, value in values["source"].items() if key not in PATHS}
    for table in ("users", "items"):
        if source.get(table):
            source[table] = {k: v for k, v in source[table].items() if k not in PATHS}
    if "external" in source:
        tables = source["external"]
        source["external"] = [{k: v for k, v in one.items() if k not in PATHS} for one in tables]
    logged = {k: v for k, v in values.get("logged", {}).items() if k not in PATHS}
    return {**values, "source": source, **({"logged": logged} if logged else {})}


PATHS = ("events", "path")


def versions(recipe: EtlRecipe) -> dict[str, str]:
    """Of the packages that decide what bytes are written."""
    engine = package_of(recipe.features.engine)
    return {name: version(name) for name in sorted({*PACKAGES, engine})}


def package_of(engine: str) -> str:
    """The distribution that an engine is of; of cudf-polars the one that is installed."""
    if engine != "polars-gpu":
        return engine
    for name in CUDF_POLARS:
        with suppress(PackageNotFoundError):
            return distribution(name).metadata["Name"]
    raise missing_engine(engine, "cudf_polars")


def dataset_id(recipe: EtlRecipe, checksums: list[str], parent: str | None) -> str:
    """The dataset's name: a hash of what was read, the recipe without paths, and the versions of
    format and code."""
    return identity_of(
        {
            "format_version": FORMAT_VERSION,
            "revision": REVISION,
            "sources": checksums,
            "recipe": canonical_recipe(recipe, parent),
            "versions": versions(recipe),
        }
    )


def appended_id(name: str) -> str:
    """The id of the dataset to which a day was appended, where a full build would have `name`."""
    return identity_of({"appended": name, "format_version": LAYERED_VERSION})
