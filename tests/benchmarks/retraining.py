"""What retraining costs beside its trainings: the workflow layer of a run, `status` after many
runs, a promotion and a rollback.

    python -m tests.benchmarks.retraining [--runs N] [--repeats N]

Every figure is of processes of their own: median seconds, and seconds of the processor, which tell
more where other work shares the machine. Of commands they count the start-up too; the layer is a
durable run whose steps do nothing, from the import of DBOS to its end.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from falconer.pipelines.config import to_toml
from falconer.workflows.retraining import database
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import MODEL, Places
from tests.benchmarks.measured import Measured, measure, measure_command
from tests.support import orders, verdicts

TARGETS = {"workflow layer of a run": 2.0, "status": 1.0, "promote": 1.0, "rollback": 1.0}
"""Seconds that each should stay below."""
EMPTY = """
import sys, time
from pathlib import Path
from falconer.workflows.retraining import decisions, steps
from falconer.workflows.retraining.config import load_pipeline

def nothing(job, *arguments):
    return {"labels": ["champion", "anchor"]}

def decide(job, *arguments):
    job.folder.mkdir(parents=True)
    (job.folder / "decision.json").write_text("{}")
    return {}

for name in ("seat", "watch", "build", "train", "judge", "gather", "crown", "publish"):
    setattr(steps, name, nothing)
steps.decide, steps.note, decisions.read = decide, lambda *_: None, lambda *_: {}
pipeline = load_pipeline(Path(sys.argv[1]))
started, worked = time.perf_counter(), time.process_time()
from falconer.workflows.retraining.pipeline import retrain
retrain(pipeline, pipeline.window(sys.argv[2]))
print(time.perf_counter() - started, time.process_time() - worked)
"""
OUTCOMES = ("keep", "undecidable", "promote", "refused", "suspicious")
TABLES = ("workflow_status", "workflow_input", "operation_outputs")


def layer(folder: Path) -> Measured:
    """A window's `retrain` whose steps do nothing, beyond the import of what the steps need."""
    folder.mkdir(parents=True)
    file = write_pipeline(orders.pipeline(folder), folder)
    found = measure_command(sys.executable, "-c", EMPTY, file, orders.FIRST, folder=folder)
    seconds, cpu = (float(one) for one in found.last_line.split())
    return Measured(seconds, cpu, found.peak_mb, "")


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


def commands(folder: Path, n: int) -> dict[str, Callable[[], Measured]]:
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

    def command(*arguments: str) -> Callable[[], Measured]:
        return lambda: measure(*arguments, folder=folder)

    return {
        "status": command("status", file),
        "promote": command("promote", file, window, model.label, *reason),
        "rollback": command("rollback", file, *reason),
    }


def figures(folder: Path, n: int, repeats: int) -> dict[str, list[Measured]]:
    """Name -> what each repeat took."""
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
        for name, found in figures(Path(folder), wanted.runs, wanted.repeats).items():
            seconds = [one.seconds for one in found]
            cpu = statistics.median(one.cpu_seconds for one in found)
            print(
                f"{name}: median {statistics.median(seconds):.2f} s, from {min(seconds):.2f} to "
                f"{max(seconds):.2f} (target {TARGETS[name]:.0f}); {cpu:.2f} s of the processor"
            )
        print(f"{wanted.runs} runs before; load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
