"""Every command in its small form: what must stand before it, and what it must have written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.faults import Ended, Forge

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
KNOBS = ("model.training.epochs=2", "model.dim=4", "model.hidden=[8]", "model.mlp_dim=4")
SMALL = tuple(part for knob in KNOBS for part in ("--set", knob))


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
    assert [line for line in ended.changes if line.startswith("socket")] == [], "network"
    return ended


def again(folder: Path, case: Case) -> list[str]:
    """The command that a person gives after a fault: a training is taken up, all else repeated."""
    runs = sorted(folder.glob("runs/2*")) if case.name == "train" else []
    if runs and json.loads((runs[-1] / "run.json").read_text())["status"] != "finished":
        return ["train", "--resume", str(runs[-1])]
    return case.arguments(folder)
