"""The numbers that modules name, as lines of text, to hold them to what was promised."""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Iterator
from enum import Enum
from numbers import Number
from pathlib import Path
from typing import Any

from falconer.recsys.metrics.definition import Definition

ROOT = Path(__file__).resolve().parents[2]
PORTIONS = "_AT_ONCE"
"""How much is done at once takes memory alone, and is nobody's promise."""


def assert_promised(room: str, kept: Path, *, without: tuple[str, ...] = ()) -> None:
    """The named numbers of all modules below `room` but those `without` are as the lines of `kept`
    have them. `FALCONER_ACCEPT=1` writes it anew, with numbers that are new: then look at every
    line that changed, mend the documents that name it, and say it in CHANGELOG."""
    found = [
        line
        for path in sorted((ROOT / room).rglob("*.py"))
        if not path.relative_to(ROOT / room).as_posix().startswith(without)
        for line in numbers_of(path)
    ]
    if os.environ.get("FALCONER_ACCEPT") == "1":
        kept.write_text("\n".join(found) + "\n", encoding="utf-8")
    promised = kept.read_text(encoding="utf-8").splitlines()
    assert promised
    assert [line for line in promised if line not in found] == []


def numbers_of(path: Path) -> Iterator[str]:
    """`module.NAME = value` of the constants of a module, as it is imported, and the bounds of the
    metrics in its tables."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    names = list(_constants(ast.parse(path.read_text(encoding="utf-8"))))
    module = importlib.import_module(f"falconer.{'.'.join(parts).removesuffix('.__init__')}")
    for name in names:
        value, said = getattr(module, name), f"{'.'.join(parts[1:])}.{name}"
        if not name.endswith(PORTIONS) and _is_of_numbers(value):
            yield f"{said} = {value!r}"
        if isinstance(value, dict):
            metrics = {key: one for key, one in value.items() if isinstance(one, Definition)}
            for key, one in metrics.items():
                yield f"{said}.{key}: {one.bounds[0]} to {one.bounds[1]}, better {one.better}"


def _constants(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for part in (part for target in targets for part in ast.walk(target)):
            if isinstance(part, ast.Name) and part.id.isupper():
                yield part.id


def _is_of_numbers(value: Any) -> bool:
    """Whether it is a number, or holds one in tuples and tables."""
    if isinstance(value, tuple | list):
        return all(isinstance(one, Number | str | tuple) for one in value) and any(
            _is_of_numbers(one) for one in value
        )
    if isinstance(value, dict):
        return any(_is_of_numbers(one) for one in value.values())
    return isinstance(value, Number) and not isinstance(value, bool | Enum)
