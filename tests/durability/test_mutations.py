"""Files that anybody may have written or damaged: each command ends with 0 or 2, never a traceback.

Mutations are drawn from a seed; in CI some of each file, with `make sweep` many more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults import Forge, each_whole
from tests.support.small_commands import BY_NAME, data, done, run_of, write_source

HOSTILE = (
    "1e300", "-1", "NaN", "1e999", '""', "[]", "{}", "null", "true", '"\x1b[2J"', "[" * 3000,
    '{"a":' * 3000, "\\ud800", "9" * 400, "'", "\x00", "\ufeff", "../../etc/passwd", "=1+1",
)  # fmt: skip
"""What replaces a piece of text."""


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The content with one to three changes: bytes flipped, cut, doubled, or replaced by what is
    hostile to a parser."""
    for _ in range(draw.randint(1, 3)):
        place, length = draw.randrange(len(content) + 1), draw.randint(1, 40)
        before, behind = content[:place], content[place + length :]
        piece = content[place : place + length]
        kind = draw.randrange(6)
        if kind == 0 and content:
            flipped = bytearray(content)
            flipped[place % len(content)] ^= 1 << draw.randrange(8)
            content = bytes(flipped)
        elif kind == 1:
            content = content[:place]
        elif kind == 2:
            content = before + piece * draw.randint(2, 50) + behind
        elif kind == 3:
            content = before + behind
        else:
            content = before + draw.choice(HOSTILE).encode("utf-8", "surrogatepass") + behind
    return content


Target = tuple[Callable[[Path], Path], Callable[[Path], list[str]]]


def ncf(folder: Path) -> Path:
    return Path(run_of(folder, "ncf"))


def etl(folder: Path) -> list[str]:
    return ["etl", "t.toml", "--out", "other"]


TARGETS: dict[str, Target] = {
    "recipe": (lambda folder: folder / "t.toml", etl),
    "events": (lambda folder: folder / "e.csv", etl),
    "search": (
        lambda folder: folder / "s.toml",
        lambda folder: ["train", "s.toml", "--data", data(folder)],
    ),
    "dataset card": (
        lambda folder: Path(data(folder)) / "dataset.json",
        lambda folder: ["train", "popularity", "--data", data(folder)],
    ),
    "run.json": (
        lambda folder: ncf(folder) / "run.json",
        lambda folder: ["evaluate", str(ncf(folder))],
    ),
    "model card": (
        lambda folder: ncf(folder) / "model" / "model.json",
        lambda folder: ["recommend", str(ncf(folder)), "--set", "k=3"],
    ),
    "weights": (
        lambda folder: ncf(folder) / "model" / "model.safetensors",
        lambda folder: ["recommend", str(ncf(folder))],
    ),
    "lists": (
        lambda folder: ncf(folder) / "all" / "recommendations.parquet",
        lambda folder: ["evaluate", str(ncf(folder))],
    ),
    "report": (
        lambda folder: ncf(folder) / "all" / "report.json",
        lambda folder: ["compare", str(ncf(folder)), "--out", "c.html"],
    ),
    "metrics": (
        lambda folder: ncf(folder) / "metrics.jsonl",
        lambda folder: ["compare", str(ncf(folder)), "--out", "c.html"],
    ),
}


@pytest.fixture(scope="module")
def whole(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations") / "work"
    folder.mkdir()
    write_source(folder)
    for name in ("etl", "train", "recommend", "evaluate"):
        done(forge, folder, BY_NAME[name])
    return folder


def try_mutations(forge: Forge, whole: Path, target: str, n: int) -> None:
    file, command = TARGETS[target]
    draw, wrong = random.Random(target), []
    for number in each_whole(whole, n):
        path = file(whole)
        path.write_bytes(mutated(path.read_bytes(), draw))
        ended = forge.run(whole, command(whole))
        if ended.code not in (0, 2) or "Traceback" in ended.err + ended.out:
            wrong.append(f"{number}: exit {ended.code}: {ended.err[-300:]}")
    print(f"{target}: {n} mutations, {len(wrong)} wrong")
    assert wrong == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_mutation_is_0_or_2(forge: Forge, whole: Path, target: str) -> None:
    try_mutations(forge, whole, target, 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS)
def test_many_mutations_are_0_or_2(forge: Forge, whole: Path, target: str) -> None:
    try_mutations(forge, whole, target, 150)
