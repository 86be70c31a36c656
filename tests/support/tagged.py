"""A log of clicks on films with lists of tags, one of which is why people click."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import EtlRecipe


def clicks(root: Path, *, n: int = 600) -> Dataset:
    """Labels: 1 where the film's tags hold `good`, at any place among up to three others."""
    root.mkdir(parents=True)
    random = np.random.default_rng(3)
    others = [f"t{number}" for number in range(6)]
    films = []
    for film in range(60):
        tags = list(random.choice(others, size=film % 4, replace=False))
        films.append(list(random.permutation([*tags, *(["good"] if film % 2 else [])])))
    chosen = random.integers(0, 60, n)
    pl.DataFrame({"film": range(60), "tags": films}).write_parquet(root / "films.parquet")
    pl.DataFrame(
        {
            "who": random.integers(0, 20, n),
            "film": chosen,
            "clicked": chosen % 2,
            "mood": [[f"m{one % 3}", f"m{one % 4}"][: one % 3] for one in range(n)],
        }
    ).write_parquet(root / "clicks.parquet")
    values = {
        "name": "clicks",
        "task": "labels",
        "target": {"kind": "binary", "column": "label"},
        "source": {
            "kind": "files",
            "events": str(root / "clicks.parquet"),
            "columns": {"user": "who", "item": "film", "label": "clicked"},
            "items": {"path": str(root / "films.parquet"), "key": "film"},
        },
        "split": {"protocol": "random", "seed": 1},
        "features": {
            "engine": "polars",
            "event": {"mood": {"kind": "list", "length": 2}},
            "item": {"tags": {"kind": "list", "length": 4}},
        },
    }
    return Dataset.open(build(parse(EtlRecipe, values, "tagged films"), root / "data"))
