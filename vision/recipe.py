"""Vision recipes: a TOML file with the tables of `VisionConfig`, by path or by its name here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from falconer.pipelines.config import apply_overrides, find_recipe, parse, read_toml
from falconer.vision.config import VisionConfig

RECIPES = Path(__file__).resolve().parent / "recipes"


def load_recipe(name: str, overrides: Sequence[str] = ()) -> VisionConfig:
    """The validated recipe; `overrides` are "training.epochs=3" and the like.

    Raises `ConfigError` that lists every mistake at once.
    """
    path = find_recipe(name, RECIPES)
    return parse(VisionConfig, apply_overrides(read_toml(path), overrides), str(path))
