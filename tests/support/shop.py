"""A small shop: event, user and item tables for tests of the ETL, and recipes over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from falconer.pipelines.config import parse
from falconer.pipelines.etl.recipe import EtlRecipe

DAY = 86_400
START = 1_600_000_000
SPLITS: dict[str, dict[str, Any]] = {
    "temporal": {"protocol": "temporal", "test_days": 4, "valid_days": 4},
    "rolling": {"protocol": "rolling", "days": 3, "windows": 2, "window": 1},
    "leave_last": {"protocol": "leave_last"},
    "held_out_users": {"protocol": "held_out_users", "valid_users": 3, "test_users": 3},
    "random": {"protocol": "random", "seed": 1},
}
FEATURES: dict[str, Any] = {
    "event": {
        "price": {"kind": "continuous", "clip": [0, 1000], "log": True},
        "store": {"kind": "categorical"},
        "discount": {"kind": "bucketize", "boundaries": [0.5, 1.0]},
    },
    "user": {"age": {"kind": "continuous", "fill": 40}},
    "item": {"department": {"kind": "categorical"}},
}


def events(n: int = 400, *, n_users: int = 20, n_items: int = 30, seed: int = 0) -> pl.DataFrame:
    """Purchases over thirty days, the last one exactly at their end; some prices and stores are
    null."""
    rng = np.random.default_rng(seed)
    item = np.minimum(rng.zipf(1.4, n), n_items)
    price = np.where(rng.random(n) < 0.1, np.nan, rng.exponential(5.0, n))
    store = [None if chance < 0.1 else f"s{int(chance * 5)}" for chance in rng.random(n)]
    return pl.DataFrame(
        {
            "customer": rng.integers(0, n_users, n),
            "sku": [f"i{number}" for number in item],
            "at": np.append(START + rng.integers(0, 30 * DAY, n - 1), START + 30 * DAY),
            "price": pl.Series(price, nan_to_null=True),
            "store": store,
            "discount": rng.random(n) * 1.5,
        }
    )


def write(folder: Path, table: pl.DataFrame) -> Path:
    """Write the shop's tables below `folder`; users 0 to 9 and items i1 to i20 are described."""
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / "events.parquet")
    pl.DataFrame({"customer": range(10), "age": range(20, 30)}).write_parquet(
        folder / "users.parquet"
    )
    skus = [f"i{number}" for number in range(1, 21)]
    departments = [f"d{number % 4}" for number in range(20)]
    items = pl.DataFrame(
        {"sku": skus, "name": [f"Item {sku}" for sku in skus], "department": departments}
    )
    items.write_parquet(folder / "items.parquet")
    return folder


def recipe(folder: Path, *, engine: str = "polars", **changes: Any) -> EtlRecipe:
    """A recipe over the tables in `folder`; `changes` replace whole keys, and `split` may be a key
    of `SPLITS`."""
    split = changes.pop("split", "temporal")
    values: dict[str, Any] = {
        "name": "shop",
        "source": {
            "kind": "files",
            "events": str(folder / "events.parquet"),
            "columns": {"user": "customer", "item": "sku", "time": "at"},
            "features": ["price", "store", "discount"],
            "users": {
                "path": str(folder / "users.parquet"),
                "key": "customer",
                "features": ["age"],
            },
            "items": {
                "path": str(folder / "items.parquet"),
                "key": "sku",
                "label": "name",
                "features": ["department"],
            },
        },
        "split": SPLITS[split] if isinstance(split, str) else split,
        "features": {"engine": engine, **FEATURES},
    }
    return parse(EtlRecipe, values | changes, "a test's recipe")


def recipe_with(
    folder: Path, features: Mapping[str, Any], *, engine: str = "polars", **changes: Any
) -> EtlRecipe:
    """The same with these features and no others."""
    plain = recipe(folder, engine=engine, **changes).model_dump(mode="json")
    plain["source"]["features"] = []
    plain["features"] = {"engine": engine, **features}
    return EtlRecipe.model_validate(plain)
