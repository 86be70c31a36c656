"""What a terminal would obey is never printed, whatever bears it: folders, files, ids, columns,
knobs and arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from falconer.pipelines.console import printable
from tests.support.faults import Ended, Forge
from tests.support.small_commands import CASES, RECIPE, again, data, run_of, write_source

ESCAPES = "\x1b[2J\x9b31m\u202e\x07"
"""Clears the screen, colours, turns the line around, rings."""


def is_plain(ended: Ended) -> bool:
    text = ended.out + ended.err
    return printable(text) == text


@pytest.fixture(scope="module")
def hostile(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, users, items, their names and a feature's name that bear them, and a run in it."""
    folder = tmp_path_factory.mktemp("terminal") / f"work{ESCAPES}"
    folder.mkdir()
    write_source(folder)
    rows = [line.split(",") for line in (folder / "e.csv").read_text().splitlines()[1:]]
    lines = [f"{ESCAPES}{user},{ESCAPES}{item},{time},{ESCAPES}b" for user, item, time in rows]
    header = f"user,item,time,kind{ESCAPES}"
    (folder / "e.csv").write_text("\n".join([header, *lines]) + "\n")
    names = [f"{ESCAPES}i{item},{ESCAPES}name" for item in range(20)]
    (folder / "i.csv").write_text("\n".join(["item,name", *names]) + "\n")
    table = 'items = { path = "i.csv", key = "item", label = "name" }\n[split]'
    quoted = ESCAPES.encode("unicode_escape").decode().replace("\\x", "\\u00")
    feature = f'\n[features.event."kind{quoted}"]\nkind = "categorical"\n'
    (folder / "t.toml").write_text(RECIPE.replace("[split]", table) + feature)
    for case in CASES:
        ended = forge.run(folder, again(folder, case))
        assert ended.code == 0, ended.err
        assert is_plain(ended), f"{case.name}: {ended.out!r} {ended.err!r}"
    return folder


REFUSED: dict[str, Callable[[Path], list[str]]] = {
    "no command": lambda _: [ESCAPES],
    "no recipe": lambda _: ["etl", ESCAPES],
    "a value": lambda _: ["etl", "t.toml", "--set", f"name={ESCAPES}"],
    "a choice": lambda folder: ["recommend", run_of(folder, "ncf"), "--fold", ESCAPES],
    "a number": lambda folder: ["evaluate", run_of(folder, "ncf"), "--k", ESCAPES],
    "an option": lambda folder: ["train", "ease", "--data", data(folder), f"--{ESCAPES}"],
    "a model": lambda folder: ["train", ESCAPES, "--data", data(folder)],
    "a knob": lambda folder: ["train", "ease", "--data", data(folder), "--set", f"{ESCAPES}=1"],
    "a metric": lambda _: ["metrics", "explain", ESCAPES],
    "two runs": lambda _: ["compare", ESCAPES, f"{ESCAPES}2"],
    "lists": lambda folder: ["evaluate", f"{ESCAPES}.csv", "--data", data(folder)],
    "too much": lambda _: ["metrics", "explain", "gauc", ESCAPES],
    "bad rows": lambda _: ["etl", "t.toml", "--set", f'source.time_unit="%Y{ESCAPES}"'],
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_plain_text(
    forge: Forge, hostile: Path, arguments: Callable[[Path], list[str]]
) -> None:
    ended = forge.run(hostile, arguments(hostile))
    assert ended.code == 2, ended.err
    assert is_plain(ended), repr(ended.err)


def test_the_card_of_a_dataset_is_plain_text(forge: Forge, hostile: Path) -> None:
    ended = forge.run(hostile, ["data-card", data(hostile), "--out", "card"])
    assert ended.code == 0, ended.err
    assert is_plain(ended)
