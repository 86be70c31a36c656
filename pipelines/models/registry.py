"""Models by name: their configuration class, and where each backend's `train` and `load` are.

A wing has one `Registry` over a literal table of its own models; other packages bring theirs
through an entry point (`falconer.pipelines.plugins`), or are named as "module:attribute".
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Generic, TypeVar

from falconer.pipelines import plugins
from falconer.pipelines.config import Config
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.extras import missing

C = TypeVar("C", bound=Config)
"""The wing's base of all configurations."""
T = TypeVar("T")
"""What trains: called with a configuration, data and a run, it gives a new model."""
L = TypeVar("L")
"""What loads: called with a directory, a configuration and data, it gives what was saved."""


@dataclass(frozen=True)
class Model(Generic[C]):
    """A model's configuration class, and the module of each backend: strings, so that looking a
    model up imports no framework. The module holds the functions `train` and `load`."""

    config: type[C]
    backends: Mapping[str, str]
    package: str | None = field(default=None, kw_only=True)
    """Name and version of the package that brings it; None for our own."""


@dataclass(frozen=True)
class Implementation(Generic[C, T, L]):
    """One model on one backend."""

    name: str
    backend: str
    config: type[C]
    train: T
    load: L
    package: str | None = None
    """As of `Model`."""


class Registry(Generic[C, T, L]):
    """The models of a wing, and those that other packages bring to it.

    own     the wing's table
    group   of the entry points, such as "falconer.models"; a name of `own` hides one from outside,
            which is still there as "module:attribute"
    config  the class that each model's configuration is a subclass of
    """

    def __init__(self, own: Mapping[str, Model[C]], *, group: str, config: type[C]) -> None:
        self.own, self._group, self._config = own, group, config

    def names(self) -> tuple[str, ...]:
        """The wing's own models, then those of installed packages; nothing is imported."""
        return (*self.own, *sorted(set(plugins.installed(self._group)) - set(self.own)))

    def find(self, name: str) -> Model[C] | None:
        """The model of this name, or None. Raises `ConfigError` where a package's model is no
        model of this wing."""
        if name in self.own:
            return self.own[name]
        plugin = plugins.load(name, self._group)
        return None if plugin is None else self._checked(name, plugin)

    def model_of(self, name: str) -> Model[C]:
        """The model of this name; `ConfigError` with the nearest name where there is none."""
        model = self.find(name)
        if model is None:
            names = self.names()
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known models: {', '.join(names)}"
            raise ConfigError(f"no model {name!r}; {hint}")
        return model

    def resolve(self, name: str, backend: str | None = None) -> Implementation[C, T, L]:
        """Import the implementation; `backend` None takes the first that the model lists.

        Raises `ConfigError` for an unknown name or backend, `MissingExtraError` where the backend's
        package is absent.
        """
        model = self.model_of(name)
        chosen = backend or next(iter(model.backends))
        if chosen not in model.backends:
            raise ConfigError(
                f"model {name!r} has no backend {chosen!r}, only {', '.join(model.backends)}"
            )
        module = _imported(model, name, chosen)
        return Implementation(
            name, chosen, model.config, module.train, module.load, package=model.package
        )

    def _checked(self, name: str, plugin: plugins.Plugin) -> Model[C]:
        model = plugin.value
        if not isinstance(model, Model):
            raise ConfigError(
                f"{name} of {plugin.package}: is {type(model).__name__}, and "
                f"{Model.__module__}.Model is wanted"
            )
        if not (isinstance(model.config, type) and issubclass(model.config, self._config)):
            raise ConfigError(
                f"{name} of {plugin.package}: its configuration must be a subclass of "
                f"{self._config.__module__}.{self._config.__name__}"
            )
        if not model.backends:
            raise ConfigError(f"{name} of {plugin.package}: has no backend")
        return Model(model.config, model.backends, package=plugin.package)


def _imported(model: Model[C], name: str, backend: str) -> ModuleType:
    path = model.backends[backend]
    if model.package is not None:
        module: ModuleType = plugins.import_module(path, f"{name} on {backend}")
        lacks = [part for part in ("train", "load") if not callable(getattr(module, part, None))]
        if lacks:
            raise ConfigError(f"{name} of {model.package}: {path} has no function {lacks[0]}")
        return module
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise missing(str(error.name), f"{name} on {backend}") from error
