"""Every command, killed or refused at its changes of files: the next one ends as if nothing had
happened, and nothing is left.

In CI a few points of each command are tried, spread over it; `make sweep` tries all of them.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.faults import Ended, Forge, Kind

RECIPE = """
name = "t"
[source]
kind = "files"
events = "e.csv"
columns = { user = "user", item = "item", time = "time" }
time_unit = "s"
[split]
protocol = "leave_last"
[features]
engine = "polars"
"""
SEARCH = """
name = "ease"
backend = "numpy"
[model]
decay = 0.9
[search]
"model.l2" = { low = 1.0, high = 9.0 }
"""
KNOBS = ("model.training.epochs=2", "model.factors=4", "model.layers=[8]", "model.mlp_factors=4")
SMALL = tuple(part for knob in KNOBS for part in ("--set", knob))
POINTS = 3
"""Of each command and kind of fault in CI."""


@dataclass(frozen=True)
class Case:
    """A command, the commands before it, and what it must have written in the end."""

    name: str
    arguments: Callable[[Path], list[str]]
    result: Callable[[Path], object]
    before: tuple[str, ...] = ()


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def data(folder: Path) -> str:
    return str(only(folder, "data/t/*"))


def run_of(folder: Path, model: str) -> str:
    return str(only(folder, f"runs/2*-{model}-*"))


def content(folder: Path) -> object:
    return json.loads((only(folder, "data/t/*") / "dataset.json").read_text())["content"]


def weights(folder: Path) -> object:
    finished = [
        path for path in folder.glob("runs/2*-ncf-*")
        if json.loads((path / "run.json").read_text())["status"] == "finished"
    ]  # fmt: skip
    return {(path / "model" / "model.safetensors").read_bytes() for path in finished}


def lists(folder: Path) -> object:
    return (Path(run_of(folder, "ncf")) / "all" / "recommendations.parquet").read_bytes()


def report(folder: Path) -> object:
    return json.loads((Path(run_of(folder, "ncf")) / "all" / "report.json").read_text())["metrics"]


def best(folder: Path) -> object:
    return tomllib.loads(only(folder, "runs/tune-*/best.toml").read_text())["model"]


CASES = (
    Case("etl", lambda folder: ["etl", "t.toml"], content),
    Case(
        "train",
        lambda folder: ["train", "ncf", "--data", data(folder), *SMALL],
        weights,
        ("etl",),
    ),
    Case("recommend", lambda folder: ["recommend", run_of(folder, "ncf")], lists, ("etl", "train")),
    Case(
        "evaluate",
        lambda folder: ["evaluate", run_of(folder, "ncf")],
        report,
        ("etl", "train", "recommend"),
    ),
    Case(
        "compare",
        lambda folder: ["compare", run_of(folder, "ncf"), "--out", "c.html"],
        lambda folder: (folder / "c.html").exists(),
        ("etl", "train", "recommend", "evaluate"),
    ),
    Case(
        "export",
        lambda folder: ["export", run_of(folder, "ncf"), "--out", "m.onnx"],
        lambda folder: (folder / "m.onnx").read_bytes(),
        ("etl", "train"),
    ),
    Case(
        "tune",
        lambda folder: ["tune", "s.toml", "--data", data(folder), "--trials", "2"],
        best,
        ("etl",),
    ),
)
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as forge:
        yield forge


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


def write_source(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"u{user},i{item},{1_700_000_000 + 60 * place}"
        for place, (user, item) in enumerate(
            zip(rng.integers(0, 30, 400), rng.integers(0, 20, 400), strict=True)
        )
    ]
    (folder / "e.csv").write_text("\n".join(["user,item,time", *lines]) + "\n")
    (folder / "t.toml").write_text(RECIPE)
    (folder / "s.toml").write_text(SEARCH)


def done(forge: Forge, folder: Path, case: Case) -> Ended:
    ended = forge.run(folder, again(folder, case))
    assert ended.code == 0, ended.err
    return ended


def again(folder: Path, case: Case) -> list[str]:
    """The command that a person gives after a fault: a training is taken up, all else repeated."""
    runs = sorted(folder.glob("runs/2*")) if case.name == "train" else []
    if runs and json.loads((runs[-1] / "run.json").read_text())["status"] != "finished":
        return ["train", "--resume", str(runs[-1])]
    return case.arguments(folder)


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
        f"{case.name}, {kind}: {len(tried)} of {len(undisturbed.changes)} points, {len(wrong)} wrong"
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
