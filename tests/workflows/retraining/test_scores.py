"""The shift of the champion's scores: a figure with a known answer, and an alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from falconer.pipelines.files import write_json
from falconer.workflows.retraining import scores
from falconer.workflows.retraining.config import Limits
from falconer.workflows.retraining.places import DECISION, MODEL, Places
from falconer.workflows.retraining.status import SCORES, score_alarms

FIRST, SECOND = "2026-01-05", "2026-01-12"


def write_lists(places: Places, window: str, label: str, best: NDArray[np.float32]) -> None:
    folder = places.judged(window, label) / "all"
    folder.mkdir(parents=True)
    values = np.column_stack([best, best - 1]).ravel()
    table = pa.table({"rank": pa.array([1, 2] * len(best)), "score": pa.array(values)})
    pq.write_table(table, folder / "recommendations.parquet")
    write_json(folder.parent / MODEL, {"sha256": "the champion"})
    write_json(places.window(window) / DECISION, {})


@pytest.mark.parametrize(("moved", "low", "high"), [(0.0, 0, 0.001), (1.0, 0.5, 2)])
def test_the_same_model_on_the_window_before_is_what_counts(
    moved: float, low: float, high: float, tmp_path: Path
) -> None:
    """Normal scores moved by one deviation have a population stability index of 1."""
    places = Places(tmp_path, "shop")
    best = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    write_lists(places, FIRST, "ncf", best)
    assert scores.shift(places, FIRST, "all") == {}
    write_lists(places, SECOND, "champion", best + np.float32(moved))
    assert low <= scores.shift(places, SECOND, "all")["psi"] <= high
    write_json(places.judged(FIRST, "ncf") / MODEL, {"sha256": "another"})
    assert scores.shift(places, SECOND, "all") == {}


def window(name: str, psi: float | None) -> dict[str, Any]:
    return {"window": name, "health": {} if psi is None else {SCORES: psi}}


def test_an_unusual_shift_is_an_alarm() -> None:
    limits = Limits(max_psi=0.25)
    usual = [window(FIRST, None), *(window(f"2026-02-0{n}", 0.1) for n in range(1, 4))]
    assert score_alarms([*usual, window(SECOND, 0.29)], limits) == []
    (text,) = score_alarms([*usual, window(SECOND, 0.31)], limits)
    assert text.startswith(f"window {SECOND}: the champion's scores have shifted (PSI 0.310")
    assert score_alarms([*usual[:3], window(SECOND, 0.9)], limits) == [], "two are no history"
    assert score_alarms([*usual, window(SECOND, None)], limits) == score_alarms([], limits) == []
