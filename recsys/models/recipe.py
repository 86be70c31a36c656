"""Recipes of recommenders: those that come with Falconer, by name, and anybody's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from falconer.pipelines.models.recipe import Recipes
from falconer.pipelines.tuning.search_space import Knob
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models.registry import REGISTRY, Implementation

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
_RECIPES = Recipes(REGISTRY, RECIPES)


def load_recipe(
    name_or_path: str, overrides: Sequence[str] = ()
) -> tuple[Implementation, ModelConfig]:
    """The implementation and its validated configuration: `Recipes.load`."""
    return _RECIPES.load(name_or_path, overrides)


def load_search(name_or_path: str, overrides: Sequence[str] = ()) -> Mapping[str, Knob]:
    """The recipe's search space: `Recipes.load_search`."""
    return _RECIPES.load_search(name_or_path, overrides)
