"""A day that has drifted too far is not appended: statistics are fitted anew on all days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.append import append
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.drift import drift_of
from falconer.pipelines.etl.features import Encoding, Moments
from falconer.pipelines.etl.operators import Bucketize, Categorical, Continuous
from tests.support import shop
from tests.unit.pipelines.etl import test_append

FEATURES = {
    "event": {"price": {"kind": "continuous"}, "store": {"kind": "categorical"}},
    "engine": "polars",
}


def recipe(folder: Path, refit_above: float | None) -> Any:
    plain = test_append.recipe(folder, features=FEATURES)
    return plain.model_copy(update={"refit_above": refit_above})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = shop.write(tmp_path / "shop", shop.events())
    test_append.write_days(folder, 0, 19)
    return folder


SAME: list[pl.Expr] = []
DEARER = [pl.col("price") + 20.0]
MOVED = [pl.lit("another").alias("store")]


@pytest.mark.parametrize(
    ("changes", "refit_above", "drifted"),
    [
        (SAME, 0.2, None),
        (DEARER, 0.2, "price"),
        (MOVED, 0.2, "store"),
        (DEARER, None, None),
        (DEARER, 99.0, None),
    ],
    ids=["same", "dearer", "moved", "no threshold", "high threshold"],
)
def test_days_are_built_anew_where_they_drifted(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: list[pl.Expr],
    refit_above: float | None,
    drifted: str | None,
) -> None:
    first = build(recipe(folder, refit_above), tmp_path / "out")
    test_append.write_days(folder, 19, 31)
    for path in sorted(folder.glob("date=*/part.parquet"))[19:]:
        pl.read_parquet(path).with_columns(changes).write_parquet(path)
    child = append(recipe(folder, refit_above), first, tmp_path / "out")
    said = capsys.readouterr().out
    known, found = (Dataset.open(one).card for one in (first, child))
    if drifted is None:
        assert "drifted" not in said
        assert found.id_space.descends_from(known.id_space)
    else:
        assert f"{drifted} by" in said
        assert "all days are built anew" in said
        assert not found.id_space.descends_from(known.id_space)
        assert child == build(recipe(folder, None), tmp_path / "out")


def test_drift_is_what_is_sure_beyond_chance() -> None:
    scaled = Encoding(Continuous(kind="continuous"), moments=Moments(9, 5.0, 2.0))
    ids = Encoding(Categorical(kind="categorical"), values=pl.Series(["a", "b"]))
    away = pl.Series(np.full(100, 1.5, np.float32))
    assert drift_of(away, scaled) == pytest.approx(1.5)
    noisy = pl.Series(np.tile(np.float32([-1.0, 1.2]), 50))
    assert drift_of(noisy, scaled) == 0.0
    half = pl.Series(np.tile(np.int32([1, 2]), 200))
    assert drift_of(half, ids) == pytest.approx(0.5 - 2 * 0.5 / 20)
    assert drift_of(pl.Series(np.int32([-1, 0, 1])), ids) == 0.0
    steps = Encoding(Bucketize(kind="bucketize", boundaries=(1.0,)))
    assert drift_of(half, steps) is None
    assert drift_of(away.clear(), scaled) is None
