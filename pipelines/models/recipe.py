"""Model recipes: which model, on which backend, with which knobs. For example:

    name = "ease"
    backend = "numpy"       # optional; the model's first otherwise

    [model]
    l2 = 300.0

    [search]                # optional; what `falconer tune` may choose, and nothing else reads
    "model.l2" = { low = 10.0, high = 5000.0, log = true }

What is not given takes its default. `name` is one of the wing's models, one that an installed
package brings, or "mypackage.toy:MODEL".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

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
from falconer.pipelines.models.registry import Implementation, Registry
from falconer.pipelines.tuning.search_space import Knob

C = TypeVar("C", bound=Config)
T = TypeVar("T")
L = TypeVar("L")


class ModelRecipe(Config):
    """A recipe as written; `[model]` holds the knobs of the named model's configuration class."""

    name: str
    backend: str | None = None
    package: str | None = None
    """Written into a run's own recipe where another package brought the model: its name and
    version. Another version is then refused."""
    model: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Knob] = Field(default_factory=dict)


class Recipes(Generic[C, T, L]):
    """The recipes of a wing: those of its folder, and anybody's files.

    A recipe is named by a TOML file, by its name below the folder ("ml-1m-sequences/ease"), or by a
    model's name ("ease": its defaults). `overrides` are `dotted.key=TOML value`
    ("model.l2=100").
    """

    def __init__(self, registry: Registry[C, T, L], folder: Path) -> None:
        self._registry, self.folder = registry, folder

    def load(
        self, name_or_path: str, overrides: Sequence[str] = ()
    ) -> tuple[Implementation[C, T, L], C]:
        """The implementation and its validated configuration.

        Raises `ConfigError` that lists every mistake of the recipe at once, `MissingExtraError`
        where the backend's package is absent.
        """
        values, origin = self._read(name_or_path)
        recipe = self._validated(apply_overrides(values, overrides), origin)
        implementation = self._registry.resolve(recipe.name, recipe.backend)
        if recipe.package not in (None, implementation.package):
            raise ConfigError(
                f"{origin}: was written with {recipe.package}, and {implementation.package} is "
                "here; install that one, or take out the line `package` to use this one"
            )
        return implementation, recipe.model

    def load_search(self, name_or_path: str, overrides: Sequence[str] = ()) -> Mapping[str, Knob]:
        """The recipe's search space, "model.l2" -> `Knob`.

        Raises `ConfigError` where there is none, and where the model has no such knob or not these
        values of it.
        """
        values, origin = self._read(name_or_path)
        values = apply_overrides(values, overrides)
        space: Mapping[str, Knob] = self._validated(values, origin).search
        if not space:
            raise ConfigError(
                f"{origin}: has no search space; add one, for example\n"
                '[search]\n"model.l2" = { low = 10.0, high = 5000.0, log = true }'
            )
        refusals = [
            refusal for key, knob in space.items() for refusal in self._refusals(values, key, knob)
        ]
        if refusals:
            noun = "mistake" if len(refusals) == 1 else "mistakes"
            raise ConfigError(f"{origin}: {len(refusals)} {noun} in search\n" + "\n".join(refusals))
        return space

    def _refusals(self, values: Mapping[str, Any], key: str, knob: Knob) -> list[str]:
        """What is wrong with a knob of the search space: the first mistake, if any."""
        if not key.startswith("model."):
            return [f'  - {key}: is no knob of the model; write "model.<knob>"']
        for value in knob.trials:
            try:
                self._validated(apply_overrides(values, [setting(key, value)]), key)
            except ConfigError as error:
                return [str(error).partition("\n")[2]]
        return []

    def _read(self, name_or_path: str) -> tuple[dict[str, Any], str]:
        """The recipe's values, and where they came from in words."""
        if "/" not in name_or_path and not name_or_path.endswith(".toml"):
            self._registry.model_of(name_or_path)
            return {"name": name_or_path}, f"{name_or_path} with its defaults"
        path = find_recipe(name_or_path, self.folder)
        return read_toml(path), str(path)

    def _validated(self, values: dict[str, Any], origin: str) -> Any:
        """A recipe whose `model` is of the named model's configuration class; one `ConfigError` for
        all mistakes."""
        name = values.get("name")
        model = self._registry.find(name) if isinstance(name, str) else None
        if model is None:
            names: Any = Literal[self._registry.names()]
            return parse(
                create_model("NamedRecipe", __base__=ModelRecipe, name=(names, ...)), values, origin
            )
        backends: Any = Literal[tuple(model.backends)] | None
        fields: Any = {
            "backend": (backends, None),
            "model": (model.config, Field(default_factory=model.config)),
        }
        return parse(create_model("NamedRecipe", __base__=ModelRecipe, **fields), values, origin)


def setting(key: str, value: Any) -> str:
    """An override: `key` = `value` in TOML syntax."""
    return f"{key}={inline_toml(value)}"


def frozen(implementation: Implementation[Any, Any, Any], config: Config) -> dict[str, Any]:
    """A recipe's content with all defaults written out: what a run keeps as its `config.toml`."""
    return {
        "name": implementation.name,
        "backend": implementation.backend,
        "package": implementation.package,
        "model": config.model_dump(mode="json"),
    }


def thaw(
    registry: Registry[C, T, L], values: Mapping[str, Any], origin: str
) -> tuple[Implementation[C, T, L], C]:
    """The implementation and configuration of a run's `config.toml`."""
    implementation = registry.resolve(values["name"], values["backend"])
    return implementation, parse(implementation.config, values.get("model", {}), origin)
