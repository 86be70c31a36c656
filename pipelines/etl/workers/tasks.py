"""Tasks that are done once: a build's stages, each of the same task on many numbers."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from falconer.pipelines.allocator import give_back
from falconer.pipelines.etl.buckets.frames import task_folder
from falconer.pipelines.etl.workers.results import read_result, write_result

Task = Callable[[Any, int, Path], Any]
"""A module's function of a stage's context, a number, and the folder for its files; what it returns
is written by `results`. It must give the same files whoever runs it, and when."""
ADVICE = (
    "the same command, with fewer workers too, goes on from the parts that are done; a lower "
    "memory_limit starts anew with smaller ones"
)
"""Where workers were lost."""


class Workers(Protocol):
    """Who runs tasks: `n` at once, and up to `n_on_a_machine` on one machine; a context manager."""

    n: int
    n_on_a_machine: int

    def run(self, task: Task, context: Any, numbers: Sequence[int], folder: Path) -> None:
        """Attempt the task on each number, in any order; raises the error of the first one that
        fails, and a `WorkerLostError` where workers die of it again and again."""


class Here:
    """This process, one task after the other."""

    n = n_on_a_machine = 1

    def run(self, task: Task, context: Any, numbers: Sequence[int], folder: Path) -> None:
        """As in `Workers`."""
        for number in numbers:
            attempt(task, context, number, folder)


def attempt(task: Task, context: Any, number: int, folder: Path) -> None:
    """Run a task. Its folder gets its name when all is written: what a kill leaves is none, and of
    two who did the same the first one's stays."""
    partial = folder / f".{number:05}.{uuid.uuid4().hex[:12]}"
    partial.mkdir(parents=True)
    try:
        write_result(partial, task(context, number, partial))
        partial.rename(task_folder(folder, number))
    except OSError:
        if not task_folder(folder, number).is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        give_back()


class Stages:
    """A build's stages below `folder`, run by `workers`; of each only those tasks that are not done
    yet."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder, self._workers = folder, workers

    def run(
        self, name: str, task: Task, context: Any, n: int, kinds: Sequence[type] = ()
    ) -> Iterator[Any]:
        """Do the tasks 0 to `n` - 1 of the stage `name`, then give their results in this order, one
        at a time; `kinds` are the dataclasses that they hold."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        left = [number for number in range(n) if not task_folder(folder, number).is_dir()]
        if left:
            self._workers.run(task, context, left, folder)
        return (read_result(task_folder(folder, number), kinds) for number in range(n))

    def n_done(self) -> int:
        """Number of tasks that are done already."""
        return sum(1 for _ in self.folder.glob("*/[0-9]*/"))
