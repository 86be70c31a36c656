"""The rules of style: those that ruff holds, each with a planted offence, and those that it has no
words for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pipelines", "recsys", "vision", "workflows")
MAX_STATEMENT_LINES = 60
"""Of a function, without its docstring: a report with twenty fields takes as many."""
CLOCKS = {"perf_counter", "monotonic", "process_time", "thread_time"}
MEASURING = ("tests/benchmarks/", "tests/gpu_check/")
NOT_WAITED_FOR = {
    "tests/unit/pipelines/test_tracking_server.py": "a server that is down",
    "tests/workflows/retraining/test_mlflow_server.py": "a server that does not answer",
}
"""Tests of what does not wait, which nothing but a clock can tell."""

OFFENCES = {
    "E501": f'NAME = "{"x" * 100}"\n',
    "D100": "NAME = 1\n",
    "D103": '"""A module."""\n\n\ndef told(n: int) -> int:\n    return n\n',
    "FBT001": '"""A module."""\n\n\ndef told(a: bool) -> bool:\n    """Say it."""\n    return a\n',
    "F841": '"""A module."""\n\n\ndef told() -> None:\n    """Say it."""\n    unused = 1\n',
    "S301": '"""A module."""\n\nimport pickle\n\nVALUE = pickle.loads(b"")\n',
    "C901": '"""A module."""\n\n\ndef told(n: int) -> int:\n    """Say it."""\n'
    + "".join(f"    if n == {k}:\n        return {k}\n" for k in range(13))
    + "    return n\n",
}
"""What ruff calls a rule -> a module that breaks it."""


@pytest.mark.parametrize("rule", OFFENCES)
def test_ruff_finds_a_planted_offence(rule: str) -> None:
    path = "pipelines/planted.py"
    command = [sys.executable, "-P", "-m", "ruff", "check", "--quiet", "--no-cache"]
    found = subprocess.run(
        [*command, "--output-format=concise", f"--stdin-filename={path}", "-"],
        cwd=ROOT,
        input=OFFENCES[rule],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1, found.stderr
    assert rule in found.stdout


def test_types_are_checked_strictly_and_everywhere() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert (settings["strict"], settings["packages"]) == (True, ["falconer"])
    assert {path.name for path in (ROOT / "falconer").iterdir() if path.is_symlink()} == {*FOLDERS}


def long_functions(path: str, text: str) -> list[str]:
    """`path:line name` of functions of more lines than are allowed."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            told = ast.get_docstring(node, clean=False) is not None
            body = node.body[1:] if told else node.body
            begins = body[0].lineno if told and body else first.lineno
            if (node.end_lineno or 0) - begins + 1 > MAX_STATEMENT_LINES:
                found.append(f"{path}:{node.lineno} {node.name}")
    return found


def test_functions_are_short() -> None:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 300
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}
    assert [one for path, text in texts.items() for one in long_functions(path, text)] == []


def test_a_long_function_is_found() -> None:
    body = ['    """What it\n    does."""', *["    pass"] * MAX_STATEMENT_LINES]
    just = "\n".join(["def just(", "    a: int,", ") -> None:", *body])
    assert long_functions("x.py", just) == []
    assert long_functions("x.py", f"{just}\n    pass") == ["x.py:1 just"]


def timed(text: str) -> list[int]:
    """Lines with an `assert` on what a clock said, in the same function. In a loop that waits it
    is a deadline."""
    found = []
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(ast.walk(function))
        names = {
            target.id
            for node in nodes
            if isinstance(node, ast.Assign) and _asks_a_clock(node.value, set())
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        waits = {part for node in nodes if isinstance(node, ast.While) for part in ast.walk(node)}
        found += [
            node.lineno
            for node in nodes
            if isinstance(node, ast.Assert)
            and node not in waits
            and _asks_a_clock(node.test, names)
        ]
    return found


def _asks_a_clock(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression calls a clock, or has a name whose value came from one."""
    parts = list(ast.walk(node))
    return any(isinstance(part, ast.Attribute) and part.attr in CLOCKS for part in parts) or any(
        isinstance(part, ast.Name) and part.id in names for part in parts
    )


def test_no_test_asserts_on_seconds() -> None:
    paths = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "tests").rglob("*.py")}
    found = {
        path: lines
        for path, file in paths.items()
        if not path.startswith(MEASURING) and (lines := timed(file.read_text("utf-8")))
    }
    assert found.keys() == NOT_WAITED_FOR.keys()


@pytest.mark.parametrize(
    "line",
    ["assert time.monotonic() - start < 2", "took = time.perf_counter() - start; assert took < 2"],
)
def test_an_assert_on_seconds_is_found(line: str) -> None:
    assert timed(f"def test_it():\n    start = time.monotonic()\n    run()\n    {line}\n") == [4]
    assert timed("def test_it():\n    start = time.monotonic()\n    assert run() < 2\n") == []
    loop = "while not done():\n        assert time.monotonic() < end"
    assert timed(f"def test_it():\n    end = time.monotonic() + 9\n    {loop}\n") == []


def absent(text: str, root: Path) -> list[str]:
    """Modules and folders of the picture of the floors that are not there."""
    (picture,) = re.findall(r"```\n(workflows/ .*?)```", text, re.DOTALL)
    tops = [path for path in root.iterdir() if path.name[0] != "."]
    there = {path.name for top in tops for path in (top, *top.rglob("*"))}
    named = set(re.findall(r"([\w-]+\.py)\b", picture))
    named |= {
        part for one in re.findall(r"(?<![\w<>/.])([\w/]+)/", picture) for part in one.split("/")
    }
    return sorted(named - there)


def test_the_picture_of_the_house_shows_what_is_there() -> None:
    assert absent((ROOT / "docs" / "architecture.md").read_text("utf-8"), ROOT) == []


def test_a_room_that_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "workflows" / "cellar").mkdir(parents=True)
    (tmp_path / "workflows" / "cli.py").touch()
    picture = "```\nworkflows/   the top\n  cli.py  attic.py\n  cellar/  loft/   more\n```"
    assert absent(picture, tmp_path) == ["attic.py", "loft"]
