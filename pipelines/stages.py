"""The ETL's public door: what upper floors and commands call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from falconer.pipelines.etl.append import append, append_since
from falconer.pipelines.etl.build import build, build_windows
from falconer.pipelines.etl.everybody import everybody
from falconer.pipelines.etl.extract import extract
from falconer.pipelines.etl.operators import OWN as OPERATORS
from falconer.pipelines.etl.profile import profile
from falconer.pipelines.etl.recipe import EtlRecipe, load_recipe, recipe_names
from falconer.pipelines.etl.sources import OWN as SOURCES
from falconer.pipelines.etl.split.config import OWN as PROTOCOLS
from falconer.pipelines.etl.split.config import Temporal
from falconer.pipelines.etl.workflow import export_workflow
from falconer.pipelines.plugin_configs import names_of

__all__ = [
    "OWN_NAMES",
    "EtlRecipe",
    "append",
    "append_since",
    "etl",
    "etl_windows",
    "everybody",
    "export_workflow",
    "extract",
    "load_recipe",
    "profile",
    "recipe_names",
    "windowed",
]

OWN_NAMES: Mapping[str, Sequence[str]] = {
    "falconer.sources": names_of(SOURCES, "kind"),
    "falconer.splits": names_of(PROTOCOLS, "protocol"),
    "falconer.operators": names_of(OPERATORS, "kind"),
}
"""Group of entry points -> names that are ours."""


def etl(recipe: EtlRecipe, out: Path, *, dask: str | None = None) -> Path:
    """Build the recipe's dataset below `out`, or find it there whole; returns its directory,
    out/<name>/<dataset_id>. The work is done by `recipe.workers` processes, or by the Dask cluster
    whose scheduler is at `dask`; "local-cuda" stands for this machine's GPUs.

    Raises a `PipelineError` that says what to mend; then nothing half-written is left and what
    existed stays.
    """
    return build(recipe, out, dask=dask)


def etl_windows(recipe: EtlRecipe, out: Path, *, dask: str | None = None) -> list[Path]:
    """As `etl`, of every window of a rolling split; the directories, of the earliest window first.

    Raises `ConfigError` where the split has no windows.
    """
    return build_windows(recipe, out, dask=dask)


def windowed(
    recipe: EtlRecipe, *, test_from: date, until: date, valid_days: float, extends: Path | None
) -> EtlRecipe:
    """The recipe with what happened from `test_from` to before `until` as test, and nothing later.

    `extends` is the dataset whose ids it continues; None = the one that the recipe names, if any.
    """
    split = Temporal(
        protocol="temporal",
        test_from=test_from,
        until=until,
        valid_days=valid_days,
        views=recipe.split.views,
    )
    return recipe.model_copy(update={"split": split, "extends": extends or recipe.extends})
