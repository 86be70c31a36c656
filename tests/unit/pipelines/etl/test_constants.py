"""The numbers that these modules name: a changed one changes what everybody is told."""

from __future__ import annotations

from pathlib import Path

from tests.support.constants import assert_promised

SPEED = ("engines/", "buckets/", "workers/", "side_by_side", "dense", "needs", "sources/batches")
"""Their sizes are chosen for speed and memory, and change no table."""
OFTEN = ("identity",)
"""The revision rises with every change of what is written."""


def test_constants_are_those_that_were_promised() -> None:
    assert_promised(
        "pipelines/etl", Path(__file__).with_name("constants.txt"), without=SPEED + OFTEN
    )
