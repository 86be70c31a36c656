"""Bytes flipped in the middle of a parquet file, where its pages are and not its footer: every
reader of ours names the file, or reads what is there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.faults import Ended, Forge, each_whole
from tests.support.small_commands import RECIPE, SMALL, data, run_of

LABELS = """
name = "l"
task = "labels"
[target]
kind = "binary"
[source]
kind = "files"
events = "e.parquet"
columns = { user = "user", item = "item", time = "time", label = "label" }
time_unit = "s"
[split]
protocol = "random"
[features]
engine = "polars"
"""


def labels(folder: Path) -> str:
    (found,) = folder.glob("data/l/*")
    return str(found)


def write_sources(folder: Path) -> None:
    random = np.random.default_rng(0)
    events = {
        "user": [f"u{user}" for user in random.integers(0, 30, 400)],
        "item": [f"i{item}" for item in random.integers(0, 20, 400)],
        "time": 1_700_000_000 + 60 * np.arange(400),
        "label": random.integers(0, 2, 400),
    }
    pq.write_table(pa.table(events), folder / "e.parquet")
    sizes = {"item": [f"i{item}" for item in range(20)], "size": random.normal(size=20)}
    pq.write_table(pa.table(sizes), folder / "i.parquet")
    more = 'items = { path = "i.parquet", key = "item", features = ["size"] }\n[split]'
    recipe = RECIPE.replace("e.csv", "e.parquet").replace("[split]", more)
    (folder / "t.toml").write_text(recipe)
    (folder / "l.toml").write_text(LABELS)


BEFORE: tuple[Callable[[Path], list[str]], ...] = (
    lambda folder: ["etl", "t.toml"],
    lambda folder: ["etl", "l.toml"],
    lambda folder: ["train", "ncf", "--data", data(folder), *SMALL],
    lambda folder: ["recommend", run_of(folder, "ncf"), "--set", "k=5"],
    lambda folder: ["evaluate", run_of(folder, "ncf")],
    lambda folder: ["train", "popularity", "--data", data(folder)],
    lambda folder: ["recommend", run_of(folder, "popularity"), "--set", "k=5"],
    lambda folder: ["evaluate", run_of(folder, "popularity")],
    lambda folder: ["train", "label_mean", "--data", labels(folder)],
    lambda folder: ["predict", run_of(folder, "label_mean")],
    lambda folder: ["evaluate", run_of(folder, "label_mean")],
)


@dataclass(frozen=True)
class Read:
    """A parquet file below the working folder, and a command that reads it."""

    file: Callable[[Path], Path]
    command: Callable[[Path], list[str]]


def of_run(model: str, name: str) -> Callable[[Path], Path]:
    return lambda folder: Path(run_of(folder, model)) / name


def copied_to(folder: Path, name: str, original: Path) -> Path:
    shutil.copy(original, folder / name)
    return folder / name


def both(folder: Path) -> list[str]:
    return [run_of(folder, "ncf"), run_of(folder, "popularity")]


READS = {
    "events": Read(lambda f: f / "e.parquet", lambda f: ["etl", "t.toml", "--out", "other"]),
    "events in buckets": Read(
        lambda f: f / "e.parquet",
        lambda f: ["etl", "t.toml", "--out", "other", "--set", 'memory_limit="300.2MB"'],
    ),
    "items": Read(lambda f: f / "i.parquet", lambda f: ["etl", "t.toml", "--out", "other"]),
    "train": Read(
        lambda f: next(Path(data(f)).glob("train/*.parquet")),
        lambda f: ["train", "popularity", "--data", data(f)],
    ),
    "vocabulary": Read(
        lambda f: Path(data(f)) / "items.parquet", lambda f: ["recommend", run_of(f, "ncf")]
    ),
    "truth": Read(
        lambda f: Path(data(f)) / "truth" / "test.parquet",
        lambda f: ["evaluate", run_of(f, "ncf")],
    ),
    "queries": Read(
        lambda f: Path(data(f)) / "queries" / "test.parquet",
        lambda f: ["recommend", run_of(f, "ncf")],
    ),
    "pairs": Read(
        lambda f: Path(labels(f)) / "pairs" / "test.parquet",
        lambda f: ["predict", run_of(f, "label_mean")],
    ),
    "data card": Read(
        lambda f: next(Path(data(f)).glob("train/*.parquet")),
        lambda f: ["data-card", data(f), "--out", "card"],
    ),
    "what a run was trained on": Read(
        of_run("ncf", "train-events.parquet"), lambda f: ["recommend", run_of(f, "ncf")]
    ),
    "lists": Read(
        of_run("ncf", "all/recommendations.parquet"), lambda f: ["evaluate", run_of(f, "ncf")]
    ),
    "somebody's lists": Read(
        lambda f: copied_to(f, "l.parquet", of_run("ncf", "all/recommendations.parquet")(f)),
        lambda f: ["evaluate", "l.parquet", "--data", data(f), "--view", "all", "--out", "o"],
    ),
    "values of queries": Read(
        of_run("ncf", "all/per_query.parquet"), lambda f: ["compare", *both(f), "--out", "c.html"]
    ),
    "predictions": Read(
        of_run("label_mean", "predictions.parquet"),
        lambda f: ["evaluate", run_of(f, "label_mean")],
    ),
    "somebody's predictions": Read(
        lambda f: copied_to(f, "p.parquet", of_run("label_mean", "predictions.parquet")(f)),
        lambda f: ["evaluate", "p.parquet", "--data", labels(f), "--out", "o"],
    ),
    "values of rows": Read(
        of_run("label_mean", "labels/per_unit.parquet"),
        lambda f: ["compare", run_of(f, "label_mean"), "--out", "c.html"],
    ),
}


@pytest.fixture(scope="module")
def whole(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "work"
    folder.mkdir()
    write_sources(folder)
    for command in BEFORE:
        ended = forge.run(folder, command(folder))
        assert ended.code == 0, ended.err
    return folder


def damage(path: Path, draw: random.Random) -> None:
    """One to forty bytes behind each other that are other ones, before the footer."""
    content = bytearray(path.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little") + 8
    start = draw.randrange(4, len(content) - footer)
    for place in range(start, min(start + draw.choice((1, 4, 40)), len(content) - footer)):
        content[place] ^= draw.randrange(1, 256)
    path.write_bytes(bytes(content))


SEALED = {"train", "truth", "queries", "pairs", "lists"}
"""Files whose checksum stands elsewhere: any change is refused, and none is read as another
value."""


def complaint(ended: Ended, name: str) -> str | None:
    if "Traceback" in ended.err + ended.out or ended.code not in (0, 2):
        return f"exit {ended.code}: {ended.err[-600:]}"
    names = (name, "contract.max_rejected_share")  # a changed value that no row may have
    if ended.code == 2 and not any(one in ended.err for one in names):
        return f"does not name {name}: {ended.err[-300:]}"
    return None


def try_damage(forge: Forge, whole: Path, name: str, n: int) -> None:
    read, draw, wrong = READS[name], random.Random(name), []
    for number in each_whole(whole, n):
        path = read.file(whole)
        before = path.read_bytes()
        damage(path, draw)
        ended = forge.run(whole, read.command(whole))
        problem = complaint(ended, path.name)
        if ended.code == 0 and name in SEALED and path.read_bytes() != before:
            problem = "was read as if it were whole"
        wrong += [] if problem is None else [f"{number}: {problem}"]
    print(f"{name}: {n} damaged, {len(wrong)} wrong")
    assert wrong == []


@pytest.mark.parametrize("name", READS)
def test_a_damaged_page_is_named(forge: Forge, whole: Path, name: str) -> None:
    try_damage(forge, whole, name, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", READS)
def test_many_damaged_pages_are_named(forge: Forge, whole: Path, name: str) -> None:
    try_damage(forge, whole, name, 60)
