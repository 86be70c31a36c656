"""Model recipes: which recommender, on which backend, with which knobs. For example:

    name = "ease"
    backend = "numpy"       # optional; the registry's first otherwise

    [model]
    l2 = 300.0

    [search]                # optional; what `falconer tune` may choose, and nothing else reads
    "model.l2" = { low = 10.0, high = 5000.0, log = true }

What is not given takes its default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model

from falconer.pipelines.config import (
    Config,
    apply_overrides,
    find_recipe,
    inline_toml,
    parse,
    read_toml,
)
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.tuning.search_space import Knob
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models.registry import MODELS, Implementation, model_of, resolve

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


class ModelRecipe(Config):
    """A recipe as written; `[model]` holds the knobs of the named model's configuration class."""

    name: str
    backend: str | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Knob] = Field(default_factory=dict)


def load_recipe(
    name_or_path: str, overrides: Sequence[str] = ()
) -> tuple[Implementation, ModelConfig]:
    """The implementation and its validated configuration.

    `name_or_path` is a TOML file, a recipe's name ("ml-1m-sequences/ease") or a model's name
    ("ease": its defaults). `overrides` are `dotted.key=TOML value` ("model.l2=100"). Raises
    `ConfigError` that lists every mistake of the recipe at once, `MissingExtraError` where the
    backend's package is absent.
    """
    values, origin = _read(name_or_path)
    recipe = _validated(apply_overrides(values, overrides), origin)
    config: ModelConfig = recipe.model
    return resolve(recipe.name, recipe.backend), config


def load_search(name_or_path: str, overrides: Sequence[str] = ()) -> Mapping[str, Knob]:
    """The recipe's search space, "model.l2" -> `Knob`; `overrides` as for `load_recipe`.

    Raises `ConfigError` where there is none, and where the model has no such knob or not these
    values of it.
    """
    values, origin = _read(name_or_path)
    values = apply_overrides(values, overrides)
    space: Mapping[str, Knob] = _validated(values, origin).search
    if not space:
        raise ConfigError(
            f"{origin}: has no search space; add one, for example\n"
            '[search]\n"model.l2" = { low = 10.0, high = 5000.0, log = true }'
        )
    refusals = [refusal for key, knob in space.items() for refusal in _refusals(values, key, knob)]
    if refusals:
        noun = "mistake" if len(refusals) == 1 else "mistakes"
        raise ConfigError(f"{origin}: {len(refusals)} {noun} in search\n" + "\n".join(refusals))
    return space


def _refusals(values: Mapping[str, Any], key: str, knob: Knob) -> list[str]:
    """What is wrong with a knob of the search space: the first mistake, if any."""
    if not key.startswith("model."):
        return [f'  - {key}: is no knob of the model; write "model.<knob>"']
    for value in knob.trials:
        try:
            _validated(apply_overrides(values, [setting(key, value)]), key)
        except ConfigError as error:
            return [str(error).partition("\n")[2]]
    return []


def setting(key: str, value: Any) -> str:
    """An override: `key` = `value` in TOML syntax."""
    return f"{key}={inline_toml(value)}"


def _read(name_or_path: str) -> tuple[dict[str, Any], str]:
    """The recipe's values, and where they came from in words."""
    if "/" not in name_or_path and not name_or_path.endswith(".toml"):
        model_of(name_or_path)
        return {"name": name_or_path}, f"{name_or_path} with its defaults"
    path = find_recipe(name_or_path, RECIPES)
    return read_toml(path), str(path)


def _validated(values: dict[str, Any], origin: str) -> Any:
    """A recipe whose `model` is of the named model's configuration class; one `ConfigError` for all
    mistakes."""
    name = values.get("name")
    if not isinstance(name, str) or name not in MODELS:
        names: Any = Literal[tuple(MODELS)]
        return parse(
            create_model("NamedRecipe", __base__=ModelRecipe, name=(names, ...)), values, origin
        )
    model = MODELS[name]
    backends: Any = Literal[tuple(model.backends)] | None
    fields: Any = {
        "backend": (backends, None),
        "model": (model.config, Field(default_factory=model.config)),
    }
    return parse(create_model("NamedRecipe", __base__=ModelRecipe, **fields), values, origin)
