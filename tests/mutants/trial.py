"""Runs tests in a forked process, on the source as it is or with one change in it.

The parent imports what all tests need of other packages and nothing of this project; each child
imports the project anew, with the changed module in place of the one on disk.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Literal

import pytest

from tests.mutants.changes import Change, changed

ROOT = Path(__file__).resolve().parents[2]
Outcome = Literal["killed", "survived", "too long"]
PRELOADED = ("numpy", "polars", "pyarrow.parquet", "pydantic", "scipy.sparse", "jinja2", "typer")
OTHERS = ("hypothesis.extra.numpy", "sklearn.metrics", "numba", "pandas", "packaging.requirements")
MEMORY = 8 * 2**30
"""A changed program may ask for any amount."""


def preload() -> None:
    """Import what the project and its tests import of others, once for all children."""
    for name in (*PRELOADED, *OTHERS):
        importlib.import_module(name)


class _Changed(importlib.abc.MetaPathFinder):
    """Finds one module, and compiles another tree than its file's."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        parts = Path(path).with_suffix("").parts
        self._name = ".".join(("falconer", *(part for part in parts if part != "__init__")))
        self._path, self._tree = ROOT / "falconer" / path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Loader(fullname, str(self._path), self._tree)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, tree: ast.Module) -> None:
        super().__init__(fullname, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.path, "exec")


@dataclass(frozen=True)
class Work:
    """What a child process does: `run` gives the exit code; it is ended after `seconds`."""

    run: Callable[[], int]
    seconds: float


def children(works: Sequence[Work], jobs: int) -> Iterator[tuple[Work, Outcome]]:
    """Each with how it ended, as it ends; `jobs` processes at once."""
    waiting, running = list(reversed(works)), dict[int, tuple[Work, float]]()
    while waiting or running:
        while waiting and len(running) < jobs:
            work = waiting.pop()
            running[_started(work)] = work, time.monotonic() + work.seconds
        for child, (work, end) in list(running.items()):
            if (found := _outcome(child, end)) is not None:
                del running[child]
                yield work, found
        time.sleep(0.02)


def _started(work: Work) -> int:
    child = os.fork()
    if child == 0:
        with _leaving():
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os._exit(work.run())
    return child


def _outcome(child: int, end: float) -> Outcome | None:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
    if time.monotonic() < end:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long"


def trial(change: Change, source: str, tests: Sequence[str], seconds: float) -> Work:
    """Runs the tests where the module `source` has the change in it: whoever notices kills it."""

    def run() -> int:
        sys.meta_path.insert(0, _Changed(change.path, changed(source, change.number)))
        return _pytest([*tests, "-x"])

    return Work(run, seconds)


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """A child never goes on where its parent would."""
    try:
        yield
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(70)


def _pytest(arguments: Sequence[str], plugins: Sequence[object] = ()) -> int:
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutants", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True
    )
    settings.load_profile("mutants")
    if "FALCONER_MUTANTS_SHOWN" not in os.environ:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    flags = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--no-header", "--tb=no"]
    flags += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # preloaded, as is meant
    flags += ["-m", "not slow and not gpu and not benchmark_suite"]
    return int(pytest.main([*flags, *arguments], plugins=list(plugins)))


class Coverage:
    """A pytest plugin that notes which lines of some files each test executes, and the processor's
    seconds that it takes.

    A function all of whose lines a test has executed is traced no more in that test, so that its
    loops are as quick as ever.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = {str(ROOT / top / file): file for file in files for top in ("falconer", "")}
        self._lines: set[tuple[str, int]] = set()
        self._left: dict[int, set[int]] = {}
        self.tests: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Coverage:
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        if (file := self._files.get(code.co_filename)) is None:
            return None
        left = self._left.get(id(code))
        if left is None:
            left = {number for _, _, number in code.co_lines() if number is not None}
            self._left[id(code)] = left
        lines = self._lines
        lines.add((file, frame.f_lineno))
        left.discard(frame.f_lineno)

        def line(frame: FrameType, event: str, arg: object) -> Any:
            if event == "line":
                lines.add((file, frame.f_lineno))
                left.discard(frame.f_lineno)
            return line if left else None

        return line if left else None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines.clear()
        self._left.clear()
        start = sum(os.times()[:4])
        yield
        seconds = sum(os.times()[:4]) - start
        lines: dict[str, list[int]] = {}
        for file, number in sorted(self._lines):
            lines.setdefault(file, []).append(number)
        self.tests[item.nodeid] = {"seconds": seconds, "lines": lines}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.pop(report.nodeid, None)


def coverage(files: Sequence[str], tests: Sequence[str], target: Path) -> Work:
    """Writes to `target`, as JSON, `{test: {"seconds": 0.1, "lines": {file: [1, 2]}}}`: which lines
    of `files` each of the `tests` executes, and what it takes. A test that fails is left out."""

    def run() -> int:
        with Coverage(files) as plugin:
            code = _pytest(tests, [plugin])
        part = target.with_suffix(".partial")
        part.write_text(json.dumps(plugin.tests), encoding="utf-8")
        part.replace(target)
        return code

    return Work(run, 3600)
