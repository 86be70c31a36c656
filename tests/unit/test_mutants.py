"""What the run over changes of the source changes, and which survivors it knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import LISTED, reasons
from tests.mutants.changes import changed, changes_of

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "def f(a, b):\n    return max(a, 0) if a < b and a != 1 else a + b\n"


def test_each_change_is_one_of_the_module_and_says_what_it_does() -> None:
    found = list(changes_of("pipelines/x.py", SOURCE))
    assert [change.number for change in found] == list(range(len(found)))
    assert {change.line for change in found} == {2}
    said = {change.what for change in found}
    assert {"a < b -> a <= b", "a + b -> a - b", "a != 1 -> a == 1"} <= said
    original = ast.unparse(ast.parse(SOURCE))
    trees = [ast.unparse(changed(SOURCE, change.number)) for change in found]
    assert original not in trees
    assert len(set(trees)) == len(trees)


def test_what_is_changed_does_something_else() -> None:
    (change,) = [c for c in changes_of("x.py", SOURCE) if c.what == "a + b -> a - b"]
    space: dict[str, object] = {}
    exec(compile(changed(SOURCE, change.number), "x.py", "exec"), space)
    function = space["f"]
    assert callable(function)
    assert function(5, 2) == 3


def test_what_is_done_at_once_and_guards_of_equal_lengths_are_left_alone() -> None:
    source = """
ROWS_AT_ONCE = 2**20
step = max(1, ROWS_AT_ONCE // n)
pairs = list(zip(a, b, strict=True))
"""
    assert not list(changes_of("x.py", source))


@pytest.mark.parametrize("key", reasons(LISTED.read_text(encoding="utf-8")))
def test_a_survivor_that_is_listed_stands_in_the_source(key: str) -> None:
    path, line = key.split(" | ")[:2]
    assert line in {text.strip() for text in (ROOT / path).read_text("utf-8").splitlines()}
