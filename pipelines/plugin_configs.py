"""Tables of a recipe that another package's class reads: a source, a split protocol, an operator.

A table says by one key (`kind`, `protocol`) which class reads it. Ours are known by pydantic's
union; any other name is looked for among the entry points, or is "module:attribute".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from falconer.pipelines import plugins
from falconer.pipelines.config import Config, parse
from falconer.pipelines.errors import ConfigError


class PluginConfig(Config):
    """Base of the classes that other packages bring: a field for each key of the table."""

    package: str | None = None
    """Name and version of the package, filled in when the table is read, so that what is frozen
    names it. A table that names another version is refused."""


def names_of(own: Sequence[type[Config]], key: str) -> list[str]:
    """What each class is called under `key`, which has one value in each."""
    return [get_args(cls.model_fields[key].annotation)[0] for cls in own]


def open_to(
    group: str, *, key: str, own: Sequence[type[Config]], base: type[PluginConfig]
) -> WrapValidator:
    """An annotation for a union told apart by `key`: a name that is none of `own` is asked of
    `group`, and its class, a subclass of `base`, reads the table."""
    names = names_of(own, key)

    def validate(value: Any, ours: ValidatorFunctionWrapHandler) -> Any:
        name = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, base):
            return value
        if not isinstance(name, str) or name in names:
            return ours(value)
        try:
            plugin = plugins.load(name, group)
            if plugin is not None:
                return _read(value, name, plugin, base)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if near := difflib.get_close_matches(name, plugins.installed(group), n=1):
            raise ValueError(f"{key} {name!r} is not known; did you mean {near[0]!r}?")
        return ours(value)

    return WrapValidator(validate)


def _read(
    table: Mapping[str, Any], name: str, plugin: plugins.Plugin, base: type[PluginConfig]
) -> PluginConfig:
    cls = plugins.of_type(plugin, name, base)
    stated = table.get("package")
    if stated not in (None, plugin.package):
        raise ConfigError(
            f"{name}: was written with {stated}, and {plugin.package} is here; install that one, "
            "or take out the key `package` to use this one"
        )
    return parse(cls, {**table, "package": plugin.package}, f"{name} of {plugin.package}")
