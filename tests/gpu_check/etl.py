"""The ETL's engine on cuDF beside the one on Polars: the same columns, and rows a second."""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np
import polars as pl

from falconer.pipelines.etl.engines import engine_of
from falconer.pipelines.etl.features import fit
from falconer.pipelines.etl.operators import AnyFeature, Categorical, Continuous
from tests.gpu_check.figures import AbsentError, Figure, Figures, Place

PLAN: dict[str, AnyFeature] = {
    "category": Categorical(kind="categorical"),
    "seldom": Categorical(kind="categorical", min_count=2),
    "amount": Continuous(kind="continuous", clip=(0.0, 1e6), log=True),
}


def run(place: Place) -> Figures:
    """Fit and apply of both engines; the small size tries NVTabular without cuDF too."""
    needed = ("nvtabular",) if place.small else ("cudf", "nvtabular")
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        raise AbsentError(f"{', '.join(absent)} not installed")
    rows = table(20_000 if place.small else 10_000_000)
    done: dict[str, pl.DataFrame] = {}
    for name in ("polars", "nvtabular"):
        engine = engine_of(name)
        started = time.perf_counter()
        encodings = fit(engine.fit(rows, PLAN), PLAN, {})
        done[name] = engine.apply(rows, encodings)
        yield Figure(
            f"{name}: fit and apply", len(rows) / (time.perf_counter() - started), "rows/s"
        )
    ours, theirs = done["polars"], done["nvtabular"]
    for column in PLAN:
        apart = np.abs(ours[column].to_numpy().astype(float) - theirs[column].to_numpy())
        limit = 1e-5 if column == "amount" else 0.0
        yield Figure(f"{column}: engines differ", float(apart.max()), "at most", limit)


def table(n: int) -> pl.DataFrame:
    """Random rows with a long tail of categories."""
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "category": (5_000 * random.random(n) ** 3).astype(np.int64),
            "seldom": (n * random.random(n) ** 2).astype(np.int64).astype(str),
            "amount": random.exponential(20.0, n),
        },
        schema_overrides={"seldom": pl.String},
    )
