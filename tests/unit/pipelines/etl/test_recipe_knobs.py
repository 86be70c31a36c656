"""What a recipe leaves out, and how far its numbers go: a changed default changes the dataset
of everybody who relied on it."""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines.etl.recipe import EtlRecipe
from tests.support.knobs import assert_promised


def test_defaults_and_bounds_are_those_that_were_promised() -> None:
    assert_promised([EtlRecipe], Path(__file__).with_name("recipe_knobs.txt"))
