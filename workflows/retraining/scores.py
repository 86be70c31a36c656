"""Does the champion score as it did on the window before? The same model's best score of each
query, then and now. It is observed and no rule of a verdict: histories grow, and scores with
them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.files import read_json
from falconer.recsys.lists.parquet import FILE
from falconer.workflows.retraining import drift
from falconer.workflows.retraining.places import MODEL, Places


def shift(places: Places, window: str, view: str) -> dict[str, float]:
    """`psi` and `js` of the champion's best scores on this window against those of the same model
    on the decided window before; empty where that has none."""
    now = places.judged(window, "champion")
    before = _judged_before(places, window, now, view)
    if before is None:
        return {}
    first, second = (_best_scores(folder / view / FILE) for folder in (before, now))
    counts = _counts(first, second)
    return {"psi": drift.psi(*counts), "js": drift.jensen_shannon(*counts)}


def _judged_before(places: Places, window: str, now: Path, view: str) -> Path | None:
    if not (now / view / FILE).exists():
        return None
    wanted = read_json(now / MODEL)["sha256"]
    for name in [one for one in places.decided() if one < window][-1:]:
        for path in sorted(places.window(name).glob(f"judged/*/{MODEL}")):
            if (path.parent / view / FILE).exists() and read_json(path)["sha256"] == wanted:
                return path.parent
    return None


def _best_scores(file: Path) -> NDArray[np.float64]:
    table = parquet.read(file)
    scores = table["score"].to_numpy().astype(np.float64)
    best: NDArray[np.float64] = scores[table["rank"].to_numpy() == 1]
    return best


def _counts(
    before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[dict[str, int], dict[str, int]]:
    """Scores by the ranges that hold a twentieth of those before each."""
    edges = np.unique(np.quantile(before, np.arange(1, drift.BINS) / drift.BINS))
    binned = (np.searchsorted(edges, scores, side="right") for scores in (before, after))
    first, second = (
        {str(place): int(n) for place, n in enumerate(np.bincount(one, minlength=len(edges) + 1))}
        for one in binned
    )
    return first, second
