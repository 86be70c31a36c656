"""The ETL's public door: what upper floors and commands call."""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import EtlRecipe, load_recipe, recipe_names

__all__ = ["EtlRecipe", "etl", "load_recipe", "recipe_names"]


def etl(recipe: EtlRecipe, out: Path) -> Path:
    """Build the recipe's dataset below `out`, or find it there whole; returns its directory,
    out/<name>/<dataset_id>.

    Raises a `PipelineError` that says what to mend; then nothing half-written is left and what
    existed stays.
    """
    return build(recipe, out)
