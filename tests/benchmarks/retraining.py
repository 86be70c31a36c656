"""What retraining costs beside its trainings: the workflow layer of a run, `status` after many
runs, a promotion and a rollback.

    python -m tests.benchmarks.retraining [--runs N] [--repeats N]

Every figure is the median of whole processes, start-up included. The layer is what a `retrain` of a
small shop takes beyond the seconds that its steps note.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from falconer.pipelines.config import to_toml
from falconer.pipelines.files import read_json
from falconer.workflows.retraining import database
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import MODEL, OBSERVED, Places
from tests.benchmarks.measured import measure
from tests.support import orders, verdicts

TARGETS = {"workflow layer of a run": 2.0, "status": 1.0, "promote": 1.0, "rollback": 1.0}
"""Seconds that each should stay below."""
OUTCOMES = ("keep", "undecidable", "promote", "refused", "suspicious")
TABLES = ("workflow_status", "workflow_input", "operation_outputs")


def layer(folder: Path) -> float:
    """Seconds of a window's `retrain` beyond those of its steps."""
    orders.write(folder, n=3000)
    shop = orders.pipeline(folder)
    file = write_pipeline(shop, folder)
    wall = measure("retrain", file, "--window", orders.FIRST, folder=folder).seconds
    steps = read_json(Places.of(shop).window(orders.FIRST) / OBSERVED)["steps"]
    return wall - sum(float(step["seconds"]) for step in steps)


def write_pipeline(pipeline: Pipeline, folder: Path) -> str:
    """The pipeline as a file; returns its path."""
    values = pipeline.model_dump(mode="json", exclude_none=True)
    (folder / "shop.toml").write_text(to_toml(values))
    return str(folder / "shop.toml")


def many_runs(folder: Path, n: int) -> Pipeline:
    """A pipeline with `n` decided windows, each with its workflow in the database."""
    orders.write(folder, n=3000)
    shop = orders.pipeline(folder)
    retrain(shop, shop.window(orders.FIRST))
    path = Places.of(shop).registry / database.FILE
    later = verdicts.pipeline_of(folder / "retraining")
    places = Places.of(later)
    verdicts.write_windows(places, [OUTCOMES[one % len(OUTCOMES)] for one in range(n)])
    copy_workflow(path, n)
    return later


def copy_workflow(path: Path, n: int) -> None:
    """The one workflow of a database, `n` times more, with all its steps."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in TABLES:
            found = connection.execute(f"select * from {table}")
            columns = [one[0] for one in found.description]
            place = columns.index("workflow_uuid")
            rows = found.fetchall()
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"insert into {table} values ({marks})",
                (
                    (*row[:place], f"{row[place]}-copy-{number}", *row[place + 1 :])
                    for number in range(n)
                    for row in rows
                ),
            )


def commands(folder: Path, n: int) -> dict[str, Callable[[], float]]:
    """The commands to measure on a pipeline after `n` runs."""
    later = many_runs(folder, n)
    file = write_pipeline(later, folder)
    window = verdicts.window_name(2)
    places = Places.of(later)
    model: Model = verdicts.model(places, window)
    path = places.judged(window, model.label) / MODEL
    path.parent.mkdir(parents=True)
    path.write_text(model.model_dump_json())
    reason = ("--reason", "a benchmark")

    def seconds(*arguments: str) -> Callable[[], float]:
        return lambda: measure(*arguments, folder=folder).seconds

    return {
        "status": seconds("status", file),
        "promote": seconds("promote", file, window, model.label, *reason),
        "rollback": seconds("rollback", file, *reason),
    }


def figures(folder: Path, n: int, repeats: int) -> dict[str, list[float]]:
    """Name -> the seconds of each repeat."""
    found = {"workflow layer of a run": [layer(folder / f"layer-{one}") for one in range(repeats)]}
    for name, run in commands(folder / "many", n).items():
        found[name] = [run() for _ in range(repeats)]
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="falconer-retraining-") as folder:
        for name, seconds in figures(Path(folder), wanted.runs, wanted.repeats).items():
            print(
                f"{name}: median {statistics.median(seconds):.2f} s, from {min(seconds):.2f} to "
                f"{max(seconds):.2f} (target {TARGETS[name]:.0f}; {wanted.runs} runs before)"
            )


if __name__ == "__main__":
    main()
