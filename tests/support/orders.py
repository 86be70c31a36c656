"""Orders of a small shop as files, and a pipeline over them: what a real retrain of seconds needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from falconer.pipelines.config import parse
from falconer.workflows.retraining.config import Pipeline

FIRST, SECOND = "2023-12-05", "2023-12-12"
"""Windows of a week; the orders go on for two days after the second."""
RECIPE = """name = "orders"
[source]
kind = "files"
events = "{folder}/orders.csv"
columns = {{ user = "customer", item = "sku", time = "bought_at" }}
[split]
protocol = "temporal"
"""


def write(folder: Path, *, n_users: int = 200, n: int = 6000) -> None:
    """`orders.csv` and `orders.toml` in `folder`; users of even and odd number like other items."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, n_users, n)
    items = (rng.random(n) ** 2 * 25).astype(int) * 2 + users % 2
    times = 1_700_000_000 + 3_000_000 // n * np.arange(n)
    lines = [f"c{u},s{i},{t}" for u, i, t in zip(users, items, times, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orders.csv").write_text("customer,sku,bought_at\n" + "\n".join(lines) + "\n")
    (folder / "orders.toml").write_text(RECIPE.format(folder=folder))


def pipeline(folder: Path, **changes: Any) -> Pipeline:
    """The pipeline over `write`'s files; `changes` replace whole keys."""
    values: dict[str, Any] = {
        "name": "shop",
        "root": str(folder / "retraining"),
        "start": FIRST,
        "data": {"recipe": str(folder / "orders.toml"), "valid_days": 3},
        "models": {"challengers": ["personal_popularity"]},
    }
    return parse(Pipeline, values | changes, "a test's pipeline")
