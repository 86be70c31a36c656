"""Orders of a small shop as files, and a pipeline over them: what a real retrain of seconds
needs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
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


SECONDS = 3_000_000
"""From the first order to the last."""
END = 1_700_000_000 + SECONDS


def write(folder: Path, *, n_users: int = 200, n: int = 6000, end: int = END) -> None:
    """`orders.csv` and `orders.toml` in `folder`; users of even and odd number like other items.
    The last order is just before the second `end`."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, n_users, n)
    items = (rng.random(n) ** 2 * 25).astype(int) * 2 + users % 2
    times = end - SECONDS + SECONDS // n * np.arange(n)
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


def cut_off(database: Path, workflow: str) -> None:
    """Let a workflow look as if its process had been killed."""
    with closing(sqlite3.connect(database)) as connection:
        pending = "update workflow_status set status = 'PENDING' where workflow_uuid = ?"
        connection.execute(pending, [workflow])
        connection.commit()


PIPELINE = """name = "shop"
start = {start}
cron = "* * * * *"
[data]
recipe = "{folder}/orders.toml"
valid_days = 3
[models]
challengers = ["{folder}/waiting.toml"]
"""
WAITING = """from pathlib import Path
import time

from falconer.pipelines.models.registry import Model
from falconer.recsys.models.personal_popularity.config import PersonalPopularityConfig
from falconer.recsys.models.personal_popularity.on_numpy import load
from falconer.recsys.models.personal_popularity.on_numpy import train as trained

MODEL = Model(PersonalPopularityConfig, {"numpy": "waiting"})


def train(config, data, run):
    with Path("trainings").open("a") as stream:
        stream.write("x")
    while not Path("go").exists():
        time.sleep(0.05)
    return trained(config, data, run)
"""


def write_waiting(folder: Path, start: str) -> None:
    """Beside `write`'s files: the pipeline file `shop.toml`, whose challenger's training notes that
    it began (one letter in the file `trainings`) and then waits for the file `go`."""
    (folder / "waiting.py").write_text(WAITING)
    (folder / "waiting.toml").write_text('name = "waiting:MODEL"\n')
    (folder / "shop.toml").write_text(PIPELINE.format(folder=folder, start=start))
