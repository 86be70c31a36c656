"""Every command, killed or refused at its changes of files: the next one ends as if nothing had
happened, and nothing is left.

In CI a few points of each command are tried, spread over it; `make sweep` tries all of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.faults import Ended, Forge, Kind
from tests.support.small_commands import BY_NAME, CASES, Case, again, done, write_source

POINTS = 3
"""Of each command and kind of fault in CI."""


@pytest.fixture(scope="module")
def states(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """The folder as it is before a case's command."""
    made: dict[tuple[str, ...], Path] = {}

    def state(before: tuple[str, ...]) -> Path:
        if before not in made:
            folder = tmp_path_factory.mktemp("state") / "work"
            if not before:
                folder.mkdir()
                write_source(folder)
            else:
                shutil.copytree(state(before[:-1]), folder)
                done(forge, folder, BY_NAME[before[-1]])
            made[before] = folder
        return made[before]

    return lambda case: state(case.before)


def copied(state: Path, to: Path) -> Path:
    """The state in a fresh folder of the same path each time: the dataset's path is in a run."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(state, to)
    return to


def leftovers(folder: Path) -> list[str]:
    scratch = [str(path) for path in (folder / "tmp").iterdir() if path.suffix != ".log"]
    return [*map(str, folder.rglob("*.partial")), *map(str, folder.rglob(".tmp*")), *scratch]


def places(n: int, *, all_of_them: bool) -> list[int]:
    wanted = np.linspace(1, n, n if all_of_them else POINTS)
    return sorted({round(place) for place in wanted.tolist()})


def sweep(forge: Forge, state: Path, folder: Path, case: Case, kind: Kind, *, full: bool) -> int:
    """Try the fault at each place; returns their number. What fails is listed in one assertion."""
    undisturbed = done(forge, copied(state, folder), case)
    right, wrong = case.result(folder), []
    tried = places(len(undisturbed.changes), all_of_them=full)
    for at in tried:
        ended = forge.run(copied(state, folder), case.arguments(folder), kind, at)
        problem = complaint(ended, kind)
        if problem is None:
            last = forge.run(folder, again(folder, case)) if ended.code else ended
            problem = None if last.code == 0 else f"then exit {last.code}: {last.err[-400:]}"
            if problem is None and case.result(folder) != right:
                problem = "then another result"
            if problem is None and (left := leftovers(folder)):
                problem = f"then left over: {left}"
        if problem is not None:
            wrong.append(f"{at} ({undisturbed.changes[at - 1]}): {problem}")
    print(
        f"{case.name}, {kind}: {len(tried)} of {len(undisturbed.changes)} points, {len(wrong)} "
        "wrong"
    )
    assert wrong == []
    return len(tried)


def complaint(ended: Ended, kind: Kind) -> str | None:
    """What is wrong with how the disturbed command ended."""
    if kind == "kill":
        return None if ended.code in (-9, 0) else f"exit {ended.code}: {ended.err[-400:]}"
    wanted = {"full disk": "the disk is full", "no memory": "not enough memory"}[kind]
    if ended.code == 0:
        return None  # what was refused could be done without
    if ended.code != 2 or "Traceback" in ended.err or wanted not in ended.err:
        return f"exit {ended.code}: {ended.err[-400:]}"
    return None


KINDS: tuple[Kind, ...] = ("kill", "full disk", "no memory")


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_survived(
    forge: Forge, states: Callable[[Case], Path], tmp_path: Path, case: Case, kind: Kind
) -> None:
    assert sweep(forge, states(case), tmp_path / "work", case, kind, full=False) >= 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_survived_at_every_change(
    forge: Forge, states: Callable[[Case], Path], tmp_path: Path, case: Case, kind: Kind
) -> None:
    assert sweep(forge, states(case), tmp_path / "work", case, kind, full=True) >= 3
