"""What a model's recipe leaves out, and how far its numbers go: a changed default changes the model
of everybody who relied on it."""

from __future__ import annotations

from pathlib import Path

from falconer.recsys.models.registry import REGISTRY
from tests.support.knobs import assert_promised


def test_defaults_and_bounds_are_those_that_were_promised() -> None:
    assert_promised(
        (REGISTRY.model_of(name).config for name in REGISTRY.names()),
        Path(__file__).with_name("model_knobs.txt"),
    )
