"""Doors for other people's code: things that an installed package brings by an entry point, or that
a recipe names as "module:attribute".

Nothing is imported to list them, and entry points are read when a name is asked for that is not
ours, so that commands start as fast with a hundred packages installed as with none.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import ConfigError, MissingExtraError
from falconer.pipelines.extras import missing

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
    found = sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value))
    distinct: dict[str, set[str]] = {}
    for point in found:
        distinct.setdefault(point.name, set()).add(point.value)
    return {point.name: point for point in found if len(distinct[point.name]) == 1}


def load(name: str, group: str) -> Plugin | None:
    """The thing of this name: a reference's attribute, or what an installed package brings; None
    where there is no such thing.

    Raises `ConfigError` where the module cannot be imported or has no such attribute, and
    `MissingExtraError` where a package that it needs is absent.
    """
    if is_reference(name):
        return Plugin(_attribute(name), _package_of(name.partition(":")[0]))
    point = installed(group).get(name)
    return None if point is None else Plugin(_attribute(point.value), _distribution(point))


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
