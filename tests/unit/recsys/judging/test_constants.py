"""The numbers that these modules name: a changed one changes what everybody is told."""

from __future__ import annotations

from pathlib import Path

from tests.support.constants import assert_promised


def test_constants_are_those_that_were_promised() -> None:
    assert_promised("recsys/judging", Path(__file__).with_name("constants.txt"))
