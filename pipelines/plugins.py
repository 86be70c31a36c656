"""Doors for other people's code: things that an installed package brings by an entry point, or that
a recipe names as "module:attribute".

Nothing is imported to list them, and entry points are read when a name is asked for that is not
ours, so that commands start as fast with a hundred packages installed as with none.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from falconer.pipelines.errors import ConfigError, MissingExtraError
from falconer.pipelines.extras import missing

T = TypeVar("T")
REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""What names an attribute of a module: "mypackage.toy:MODEL"."""


@dataclass(frozen=True)
class Plugin:
    """A thing of another package, and which package that is, with its version."""

    value: Any
    package: str


def is_reference(name: str) -> bool:
    """Whether `name` is written as "module:attribute"."""
    return REFERENCE.fullmatch(name) is not None


def installed(group: str) -> Mapping[str, metadata.EntryPoint]:
    """Name -> entry point of a group such as "falconer.models"; nothing of it is imported.

    A name that two packages bring is left out: which one is meant nobody can tell. Each of them is
    still there as "module:attribute".
    """
    return {name: points[0] for name, points in _offered(group).items() if len(points) == 1}


def clashes(group: str, own: Collection[str]) -> list[str]:
    """What is wrong with names of a group, in words: those that ours hide, and those that two
    packages bring."""
    return [
        f"{name}: {_bringers(points)} brings this name and falconer has its own; "
        f'write "{points[0].value}" for that one'
        if name in own
        else _ambiguous(name, points)
        for name, points in _offered(group).items()
        if name in own or len(points) > 1
    ]


def load(name: str, group: str) -> Plugin | None:
    """The thing of this name: a reference's attribute, or what an installed package brings; None
    where there is no such thing.

    Raises `ConfigError` where two packages bring the name, where the module cannot be imported or
    has no such attribute, and `MissingExtraError` where a package that it needs is absent.
    """
    if is_reference(name):
        return Plugin(_attribute(name), _package_of(name.partition(":")[0]))
    points = _offered(group).get(name)
    if points is None:
        return None
    if len(points) > 1:
        raise ConfigError(_ambiguous(name, points))
    return Plugin(_attribute(points[0].value), _distribution(points[0]))


def of_type(plugin: Plugin, name: str, base: type[T]) -> type[T]:
    """The plugin's value, which must be a subclass of `base`; else `ConfigError`."""
    if isinstance(plugin.value, type) and issubclass(plugin.value, base):
        return plugin.value
    is_now = (
        plugin.value.__name__ if isinstance(plugin.value, type) else type(plugin.value).__name__
    )
    raise ConfigError(
        f"{name} of {plugin.package}: is {is_now}, and a subclass of "
        f"{base.__module__}.{base.__name__} is wanted"
    )


def _offered(group: str) -> dict[str, list[metadata.EntryPoint]]:
    """Name -> what is brought under it, each value once, by the order of the alphabet."""
    found = sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value))
    offered: dict[str, dict[str, metadata.EntryPoint]] = {}
    for point in found:
        offered.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: list(points.values()) for name, points in offered.items()}


def _ambiguous(name: str, points: Sequence[metadata.EntryPoint]) -> str:
    values = " or ".join(f'"{point.value}"' for point in points)
    return f"{name}: {_bringers(points)} bring this name; write {values} for the one you mean"


def _bringers(points: Sequence[metadata.EntryPoint]) -> str:
    return " and ".join(_distribution(point) for point in points)


def import_module(name: str, wanted_by: str) -> Any:
    """A module of another package. Whatever goes wrong in it is told as an error of its recipe."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _absent(name, wanted_by, str(error.name)) from error
    except Exception as error:  # somebody else's code: anything may happen while it is imported
        raise ConfigError(
            f"{wanted_by}: module {name} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _absent(module: str, wanted_by: str, absent: str) -> ConfigError | MissingExtraError:
    if module == absent or module.startswith(f"{absent}."):
        return ConfigError(
            f"{wanted_by}: there is no module {absent!r}; install its package here, or put its "
            "folder on PYTHONPATH"
        )
    return missing(absent, wanted_by)


def _attribute(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    value: Any = import_module(module, reference)
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ConfigError(f"{reference}: module {module} has no {attribute!r}")
        value = getattr(value, part)
    return value


def _distribution(point: metadata.EntryPoint) -> str:
    if point.dist is None:
        return _package_of(point.module)
    return f"{point.dist.name} {point.dist.version}"


def _package_of(module: str) -> str:
    """Distribution and version; the module's own checksum where it was never installed."""
    top = module.partition(".")[0]
    for name in metadata.packages_distributions().get(top, ()):
        return f"{name} {metadata.version(name)}"
    file = getattr(importlib.import_module(module), "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else "unknown"
    return f"{top}, not installed, sha256 of {module} {digest}"
