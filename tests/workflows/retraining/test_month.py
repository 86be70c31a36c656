"""Two weeks of real purchases, left alone and killed at random moments; `make month` and
`make crash-month` are the long forms."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.support import month as months
from tests.support.month import Month


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """The month, not yet begun."""
    return months.prepare(tmp_path_factory.mktemp("month") / "fresh", small=True)


@pytest.fixture(scope="module")
def undisturbed(fresh: Month) -> tuple[Month, float]:
    """The month, run in one go, and the seconds that took."""
    month = months.copy_of(fresh, fresh.folder.parent / "undisturbed")
    return month, months.run(month)


def test_every_window_ends_in_one_of_the_five_outcomes(undisturbed: tuple[Month, float]) -> None:
    lines = list(months.lines_of(undisturbed[0]))
    assert len(lines) == 2
    assert lines[0].startswith("2017-11-27: promote")
    assert months.disk(undisturbed[0]) < 20 * 2**20


def test_killed_at_random_moments_it_ends_with_the_same_result(
    fresh: Month, undisturbed: tuple[Month, float], tmp_path: Path
) -> None:
    month, _ = undisturbed
    again = months.copy_of(fresh, tmp_path / "killed")
    killed = months.run_killed(again, 3, random.Random(1))
    assert killed, "at least once"
    assert months.result(again) == months.result(month)


def test_what_is_there_is_not_done_again(undisturbed: tuple[Month, float], tmp_path: Path) -> None:
    month = Month(tmp_path / "again", undisturbed[0].days)
    shutil.copytree(undisturbed[0].folder, month.folder, symlinks=True)
    before = months.result(month)
    months.forget_last(month)
    started = time.time()
    months.run(month)
    assert months.result(month) == before
    touched = [
        path for path in (month.root() / "runs").rglob("*") if path.stat().st_mtime > started
    ]
    assert touched == [], "nothing was trained again"
