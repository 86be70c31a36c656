"""The ETL recipe: everything that decides what a dataset holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pipelines.config import Config, apply_overrides, find_recipe, parse, read_toml
from pipelines.etl.catalogue import CatalogueConfig
from pipelines.etl.clean import CleanConfig
from pipelines.etl.contract import ContractConfig
from pipelines.etl.features import FeaturesConfig
from pipelines.etl.sources import Source
from pipelines.etl.split.config import SplitConfig

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class EtlRecipe(Config):
    """A dataset's source and each step's configuration."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the dataset and of its folder: letters, digits, dots, dashes, underscores."""
    task: Literal["top_n"] = "top_n"
    source: Source
    contract: ContractConfig = Field(default_factory=ContractConfig)
    clean: CleanConfig = Field(default_factory=CleanConfig)
    split: SplitConfig
    catalogue: CatalogueConfig = Field(default_factory=CatalogueConfig)
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    extends: Path | None = None
    """Directory of a dataset whose ids, categories and scales are kept; new ones follow as the next generation."""


def load_recipe(name: str, overrides: Sequence[str] = ()) -> EtlRecipe:
    """Read a recipe by its name or path, with `key=value` overrides.

    Raises `ConfigError` that lists every mistake.
    """
    path = find_recipe(name, RECIPES)
    return parse(EtlRecipe, apply_overrides(read_toml(path), overrides), str(path))


def recipe_names() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.toml"))
