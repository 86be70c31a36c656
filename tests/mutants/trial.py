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
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Literal

import pytest

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


def outcome(path: str, tree: ast.Module, tests: Sequence[str], seconds: float) -> Outcome:
    """Whether one of the tests fails where `tree` stands for the module at `path`."""
    child = os.fork()
    if child == 0:
        with _leaving():
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            sys.meta_path.insert(0, _Changed(path, tree))
            os._exit(_pytest([*tests, "-x"]))
    return _awaited(child, seconds)


def _awaited(child: int, seconds: float) -> Outcome:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long"


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


class Seconds:
    """A pytest plugin that notes how long each test takes, where nothing traces it."""

    def __init__(self) -> None:
        self.tests: dict[str, float] = {}

    def __enter__(self) -> Seconds:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        start = sum(os.times()[:4])
        yield
        self.tests[item.nodeid] = sum(os.times()[:4]) - start


class Coverage:
    """A pytest plugin that notes which lines of some files each test executes."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = {str(ROOT / top / file): file for file in files for top in ("falconer", "")}
        self._lines: set[tuple[str, int]] = set()
        self.tests: dict[str, dict[str, list[int]]] = {}

    def __enter__(self) -> Coverage:
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if (file := self._files.get(frame.f_code.co_filename)) is None:
            return None
        lines = self._lines
        lines.add((file, frame.f_lineno))

        def line(frame: FrameType, event: str, arg: object) -> Any:
            if event == "line":
                lines.add((file, frame.f_lineno))
            return line

        return line

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines.clear()
        yield
        lines: dict[str, list[int]] = {}
        for file, number in sorted(self._lines):
            lines.setdefault(file, []).append(number)
        self.tests[item.nodeid] = lines

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.pop(report.nodeid, None)


def coverage(files: Sequence[str], tests: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`{test: {"seconds": 0.1, "lines": {file: [1, 2]}}}`: the processor's seconds of each test,
    and which lines of `files` it executes. A test that fails is left out."""
    lines: dict[str, dict[str, list[int]]] = _noted(tests, Coverage(files))
    seconds: dict[str, float] = _noted(tests, Seconds())
    both = lines.keys() & seconds.keys()
    return {name: {"seconds": seconds[name], "lines": lines[name]} for name in sorted(both)}


def _noted(tests: Sequence[str], plugin: Coverage | Seconds) -> Any:
    """What the plugin notes of the tests, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "noted.json"
        child = os.fork()
        if child == 0:
            with _leaving():
                with plugin:
                    code = _pytest(tests, [plugin])
                target.write_text(json.dumps(plugin.tests), encoding="utf-8")
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert target.exists(), f"pytest ended with {os.waitstatus_to_exitcode(status)}"
        return json.loads(target.read_text(encoding="utf-8"))
