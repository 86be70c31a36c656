"""What an evaluation leaves out, and how far its numbers go: a changed default changes the report
of everybody who relied on it."""

from __future__ import annotations

from pathlib import Path

from falconer.recsys.judging.config import EvaluationConfig
from tests.support.knobs import assert_promised


def test_defaults_and_bounds_are_those_that_were_promised() -> None:
    assert_promised([EvaluationConfig], Path(__file__).with_name("config_knobs.txt"))
