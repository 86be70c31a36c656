"""A build by several workers gives the same bytes as one by one, and goes on where a kill left
it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from falconer.pipelines.cli import app
from falconer.pipelines.data.dataset import CARD
from falconer.pipelines.errors import DataError, WorkerLostError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources.pieces import shared
from falconer.pipelines.etl.workers.processes import Processes
from falconer.pipelines.etl.workers.tasks import Here, Stages, Task, attempt
from tests.support import shop

FIVE = Buckets(5, 50, 900)
STAGES = ["read", "clean", "split", "count", "statistics", "encode"]


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> EtlRecipe:
    folder = shop.write(tmp_path_factory.mktemp("tables"), shop.events())
    return shop.recipe(folder, split="leave_last")


@pytest.fixture(scope="module")
def wanted(recipe: EtlRecipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(build(recipe, tmp_path_factory.mktemp("one"), buckets=FIVE))


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_decides_no_byte(
    recipe: EtlRecipe, wanted: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    built = build(recipe.model_copy(update={"workers": workers}), tmp_path, buckets=FIVE)
    assert files_of(built) == wanted
    assert [path.name for path in built.parent.iterdir()] == [built.name]


def test_row_groups_of_one_file_are_read_by_several_workers(
    wanted: dict[str, bytes], tmp_path: Path, recipe: EtlRecipe
) -> None:
    events = pl.read_parquet(recipe.source.events)  # type: ignore[union-attr]
    folder = shop.write(tmp_path / "tables", events)
    events.write_parquet(folder / "events.parquet", row_group_size=9)
    parted = shop.recipe(folder, split="leave_last", workers=2)
    tasks = shared([folder / "events.parquet"])
    assert len(tasks) > 10
    groups = [one for task in tasks for share in task for one in share.row_groups or ()]
    assert groups == list(range(-(-len(events) // 9)))
    found = files_of(build(parted, tmp_path / "out", buckets=FIVE))
    tables = {name for name in wanted if name != CARD}
    assert {name: found[name] for name in tables} == {name: wanted[name] for name in tables}


def test_small_files_are_put_together(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:03}.csv" for number in range(100)]
    for number, path in enumerate(paths):
        path.write_text("x" * (1 + number % 7))
    tasks = shared(paths)
    assert [share.path for task in tasks for share in task] == paths
    assert len(tasks) <= 64


KILL = """
import os, signal, sys
from pathlib import Path
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.workers import tasks
from tests.support import shop

attempt = tasks.attempt

def killed(task, context, number, folder):
    if folder.name == sys.argv[3] and number == (0 if folder.name == "read" else 3):
        os.kill(os.getpid(), signal.SIGKILL)
    attempt(task, context, number, folder)

tasks.attempt = killed
recipe = shop.recipe(Path(sys.argv[1]), split="leave_last")
build(recipe, Path(sys.argv[2]), buckets=Buckets(5, 50, 900))
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_build_goes_on_from_the_parts_that_are_done(
    recipe: EtlRecipe,
    wanted: dict[str, bytes],
    tmp_path: Path,
    stage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(recipe.source.events).parent  # type: ignore[union-attr, arg-type]
    command = [sys.executable, "-c", KILL, str(folder), str(tmp_path), stage]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    built = build(recipe, tmp_path, buckets=FIVE)
    n_done = {name: 1 + 5 * place - 5 + 3 for place, name in enumerate(STAGES)} | {"read": 0}
    assert f"goes on from the {n_done[stage]} parts" in "".join(capsys.readouterr())
    assert files_of(built) == wanted
    assert [path.name for path in built.parent.iterdir()] == [built.name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "be greater than or equal to 1"),
        (["--workers", "2", "--since", "2024-05-21"], "a day is appended by one process"),
        (["--dask", "tcp://127.0.0.1:1", "--append", "."], "a day is appended by one process"),
    ],
    ids=["none", "since", "append"],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], said: str) -> None:
    found = CliRunner().invoke(app, ["etl", "complete-journey", *options])
    assert found.exit_code == 2
    assert said in " ".join(found.output.replace("│", " ").split())


class KilledOnce:
    """A task whose first worker is killed, once in every stage."""

    def __init__(self, task: Task, marks: Path) -> None:
        self.task, self.marks = task, marks

    def __call__(self, context: Any, number: int, folder: Path) -> Any:
        mark = self.marks / folder.parent.name
        if number == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.task(context, number, folder)


def test_a_worker_killed_in_every_stage_changes_nothing(
    recipe: EtlRecipe,
    wanted: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Stages.run

    def killing(stages: Stages, name: str, task: Task, *others: Any) -> Iterator[Any]:
        return run(stages, name, KilledOnce(task, tmp_path), *others)

    monkeypatch.setattr(Stages, "run", killing)
    built = build(recipe.model_copy(update={"workers": 2}), tmp_path / "out", buckets=FIVE)
    assert {path.name for path in tmp_path.iterdir()} == {*STAGES, "out"}
    assert files_of(built) == wanted


def dies_once(context: Path, number: int, folder: Path) -> int:
    """A task whose first attempt at number 1 is killed."""
    if number == 1 and not context.exists():
        context.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def dies(context: Any, number: int, folder: Path) -> int:
    """A task that always dies of number 1."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def refuses(context: Any, number: int, folder: Path) -> int:
    """A task that cannot use numbers from 1 on."""
    if number:
        raise DataError(f"{number} is wrong")
    return number


def test_of_two_who_did_the_same_the_first_one_stays(tmp_path: Path) -> None:
    for _ in range(2):
        attempt(refuses, None, 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["00000"]


def test_a_part_whose_worker_was_killed_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Processes(2) as workers:
        stages = Stages(tmp_path / "stages", workers)
        assert list(stages.run("squares", dies_once, tmp_path / "died", 4)) == [0, 1, 4, 9]
    assert "stage squares, part 1: a worker was ended by SIGKILL" in "".join(capsys.readouterr())


def test_a_part_that_kills_every_worker_is_named_and_what_is_done_stays(tmp_path: Path) -> None:
    with Processes(2) as workers:
        stages = Stages(tmp_path, workers)
        named = r"stage squares, part 1: 3 workers were lost, .* where memory runs out; the same"
        with pytest.raises(WorkerLostError, match=named):
            stages.run("squares", dies, None, 2)
    assert list(Stages(tmp_path, Here()).run("squares", refuses, None, 1)) == [0]


def test_the_first_error_of_a_task_is_raised_as_it_is(tmp_path: Path) -> None:
    with Processes(2) as workers, pytest.raises(DataError, match=r"^1 is wrong$"):
        Stages(tmp_path, workers).run("wrong", refuses, None, 2)


KILL_MAIN = """
import os, signal, sys
from pathlib import Path
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.workers import processes
from tests.support import shop

outcome, seen = processes._Worker.outcome, []

def counted(worker):
    seen.append(worker)
    if len(seen) == 9:
        print(*(one._process.pid for one in set(seen)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome(worker)

processes._Worker.outcome = counted
recipe = shop.recipe(Path(sys.argv[1]), split="leave_last", workers=2)
build(recipe, Path(sys.argv[2]), buckets=Buckets(5, 50, 900))
"""


def test_workers_end_with_a_main_process_that_is_killed_and_others_go_on(
    recipe: EtlRecipe, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    folder = Path(recipe.source.events).parent  # type: ignore[union-attr, arg-type]
    command = [sys.executable, "-c", KILL_MAIN, str(folder), str(tmp_path)]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    workers = [int(word) for word in killed.stdout.splitlines()[-1].split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(is_there, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_there, workers))
    built = build(recipe.model_copy(update={"workers": 3}), tmp_path, buckets=FIVE)
    assert files_of(built) == wanted


def is_there(process: int) -> bool:
    """Whether a process runs; one that nobody waits for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
