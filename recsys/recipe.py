"""Model recipes: which recommender, on which backend, with which knobs. For example:

    name = "ease"
    backend = "numpy"       # optional; the registry's first otherwise

    [model]
    l2 = 300.0

What is not given takes its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model

from pipelines.config import Config, apply_overrides, find_recipe, parse, read_toml
from recsys.models.config import ModelConfig
from recsys.registry import MODELS, Implementation, model_of, resolve

RECIPES = Path(__file__).resolve().parent / "recipes"


class ModelRecipe(Config):
    """A recipe as written; `[model]` holds the knobs of the named model's configuration class."""

    name: str
    backend: str | None = None
    model: dict[str, Any] = Field(default_factory=dict)


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> tuple[Implementation, ModelConfig]:
    """The implementation and its validated configuration.

    `name_or_path` is a TOML file, a recipe's name ("ml-1m-sequences/ease") or a model's name ("ease": its defaults).
    `overrides` are `dotted.key=TOML value` ("model.l2=100"). Raises `ConfigError` that lists every mistake of the
    recipe at once, `MissingExtraError` where the backend's package is absent.
    """
    values, origin = _read(name_or_path)
    recipe = _validated(apply_overrides(values, overrides), origin)
    config: ModelConfig = recipe.model
    return resolve(recipe.name, recipe.backend), config


def _read(name_or_path: str) -> tuple[dict[str, Any], str]:
    """The recipe's values, and where they came from in words."""
    if "/" not in name_or_path and not name_or_path.endswith(".toml"):
        model_of(name_or_path)
        return {"name": name_or_path}, f"{name_or_path} with its defaults"
    path = find_recipe(name_or_path, RECIPES)
    return read_toml(path), str(path)


def _validated(values: dict[str, Any], origin: str) -> Any:
    """A recipe whose `model` is of the named model's configuration class; one `ConfigError` for all mistakes."""
    name = values.get("name")
    if not isinstance(name, str) or name not in MODELS:
        names: Any = Literal[tuple(MODELS)]
        return parse(create_model("NamedRecipe", __base__=ModelRecipe, name=(names, ...)), values, origin)
    model = MODELS[name]
    backends: Any = Literal[tuple(model.backends)] | None
    fields: Any = {"backend": (backends, None), "model": (model.config, Field(default_factory=model.config))}
    return parse(create_model("NamedRecipe", __base__=ModelRecipe, **fields), values, origin)
