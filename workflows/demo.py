"""`falconer demo`: real purchases to an honest report, by the same commands that a person would
type."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

DATASET = "complete-journey"
MODELS = (
    "popularity",
    "popularity_recent",
    "personal_popularity",
    "tifu_knn",
    "item_knn",
    "ease",
    "als",
    "ncf",
)


def demo(
    data: Annotated[Path, typer.Option(help="Where dataset directories are written.")] = Path(
        "data"
    ),
    runs: Annotated[
        Path, typer.Option(help="Where run directories and the report are written.")
    ] = Path("runs"),
) -> None:
    """Build the Complete Journey dataset, train the recommenders, judge and compare them.

    Example: falconer demo --data data --runs runs
    """
    started = time.perf_counter()
    dataset = falconer("etl", DATASET, "--out", str(data))
    finished = [_train_and_judge(f"{DATASET}/{model}", dataset, runs) for model in MODELS]
    report = falconer("compare", *finished, "--out", str(runs / "demo.html"))
    typer.echo(
        f"\n{len(finished)} recommenders judged in {time.perf_counter() - started:.0f} s; open the "
        "report:"
    )
    typer.echo(report)


def _train_and_judge(recipe: str, dataset: str, runs: Path) -> str:
    """Train, recommend and evaluate one recipe; returns the run directory."""
    run = falconer("train", recipe, "--data", dataset, "--runs", str(runs))
    falconer("recommend", run)
    falconer("evaluate", run, "--data", dataset)
    return run


def falconer(*arguments: str) -> str:
    """Run one `falconer` command in a process of its own, passing its lines on; returns its last
    line.

    Ends this process with the command's exit code where that is not 0.
    """
    typer.echo(f"\n$ falconer {shlex.join(arguments)}")
    last = ""
    command = [sys.executable, "-P", "-m", "falconer.workflows.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            typer.echo(line, nl=False)
            last = line.strip() or last
    if process.returncode:
        raise typer.Exit(process.returncode)
    return last
