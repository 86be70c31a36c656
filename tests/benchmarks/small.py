"""The small form of the benchmarks, FALCONER_BENCH_SMALL=1, in which CI runs them so that they do
not rot. Its figures mean nothing, and no peer is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from tests.support import small_commands

SMALL = os.environ.get("FALCONER_BENCH_SMALL") == "1"
NO_PEER = "the small form starts no peer"
T = TypeVar("T")


def sized(whole: T, small: T) -> T:
    """The value for the form in which this process measures."""
    return small if SMALL else whole


def recipe_of(name: str, folder: Path) -> str:
    """The dataset recipe `name`; in the small form one of 400 events, written to `folder`."""
    if not SMALL:
        return name
    small_commands.write_source(folder)
    recipe = folder / "t.toml"
    recipe.write_text(recipe.read_text().replace("e.csv", str(folder / "e.csv")))
    return str(recipe)
