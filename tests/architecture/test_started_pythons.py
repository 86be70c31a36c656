"""A Python that a command starts leaves the working folder out of its path (-P): else a user's
`falconer/` or `mlflow.py` there would run in place of ours."""

from __future__ import annotations

import ast
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pipelines", "recsys", "vision", "workflows", "scripts")


def unsafe(source: str) -> list[int]:
    """Lines of lists and tuples that begin a command by `sys.executable` and not by -P after it."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.List | ast.Tuple)
        for here, after in zip_longest(node.elts, node.elts[1:])
        if isinstance(here, ast.Attribute)
        and ast.unparse(here) == "sys.executable"
        and not (isinstance(after, ast.Constant) and after.value == "-P")
    ]


def test_no_command_looks_into_the_working_folder() -> None:
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if lines := unsafe(path.read_text(encoding="utf-8")):
                found[path.relative_to(ROOT).as_posix()] = lines
    assert found == {}


def test_the_rule_bites() -> None:
    assert unsafe("run([sys.executable, '-m', 'x'])") == [1]
    assert unsafe("run([*(sys.executable, '-m', 'x'), 'y'])") == [1]
    assert unsafe("command = [sys.executable]") == [1]
    assert unsafe("run([sys.executable, '-P', '-m', 'x'])") == []
