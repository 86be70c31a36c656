"""Runs the examples of a Markdown file, in order, in one clean folder.

What is executed:
  ```sh        the whole block, by `bash -eu`
  ```console   the lines that begin with "$ "; other lines are the expected output (`...` =
               anything)
  ```python    the whole block, in a process of its own; written to the file that its first line
               names
               (`# toy.py`), if it does
  ```toml      written to the file that its first line names (`# my-shop.toml`); without such a line
               it is only parsed
  ```csv       written to the file that its first line names (`# purchases.csv`; the line is left
               out)
Other blocks are left alone. A block is skipped where the line before it is `<!-- not executed: the
reason -->`.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EXECUTED = ("sh", "console", "python", "toml", "csv")
FENCE = re.compile(r"^(?P<before>[^\n]*)\n```(?P<kind>[a-z]+)\n(?P<text>.*?)^```\s*$", re.M | re.S)
NOT_EXECUTED = re.compile(r"^<!-- not executed: \S.* -->$")
FILE_NAME = re.compile(r"^# (?P<name>[\w.-]+\.(toml|csv|py))$")
SECONDS_A_BLOCK = 120.0


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text and first line's number."""

    kind: str
    text: str
    line: int


def blocks(markdown: str) -> Iterator[Block]:
    """The blocks that are to be executed, in order."""
    markdown = f"\n{markdown}"
    for match in FENCE.finditer(markdown):
        if match["kind"] in EXECUTED and not NOT_EXECUTED.match(match["before"].strip()):
            yield Block(match["kind"], match["text"], markdown.count("\n", 0, match.start("text")))


def execute(
    path: Path, folder: Path, first: int | None = None, *, seconds: float = SECONDS_A_BLOCK
) -> int:
    """Execute a file's blocks, or the `first` of them, in `folder`, each within `seconds`; returns
    their number. Raises `AssertionError` that names the line."""
    found = list(blocks(path.read_text(encoding="utf-8")))[:first]
    for block in found:
        try:
            _execute(block, folder, seconds)
        except AssertionError as error:
            raise AssertionError(f"{path.name}:{block.line}: {error}") from error
    return len(found)


def _execute(block: Block, folder: Path, seconds: float) -> None:
    if block.kind == "sh":
        _run(["bash", "-euc", block.text], folder, seconds)
    elif block.kind == "python" and not FILE_NAME.match(block.text.partition("\n")[0]):
        _run([sys.executable, "-c", block.text], folder, seconds)
    elif block.kind == "console":
        for command, expected in _commands(block.text):
            _compare(_run(["bash", "-euc", command], folder, seconds), expected)
    else:
        _write(block, folder)


def _run(command: list[str], folder: Path, seconds: float) -> str:
    """Standard output of a command that must end with 0."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
    found = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert found.returncode == 0, f"exit code {found.returncode}\n{found.stdout}{found.stderr}"
    return found.stdout


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a console block; a command goes on after a backslash at its
    line's end."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = re.sub(r"\\\n", "", part).partition("\n")
        yield command, expected


def _compare(found: str, expected: str) -> None:
    if expected.strip():
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(expected, found, flags), (
            f"expected\n{expected}\nfound\n{found}"
        )


def _write(block: Block, folder: Path) -> None:
    first, _, rest = block.text.partition("\n")
    name = FILE_NAME.match(first)
    if name:
        (folder / name["name"]).write_text(
            rest if block.kind == "csv" else block.text, encoding="utf-8"
        )
    if block.kind == "toml":
        try:
            tomllib.loads(block.text)
        except tomllib.TOMLDecodeError as error:
            raise AssertionError(f"not valid TOML: {error}") from error
