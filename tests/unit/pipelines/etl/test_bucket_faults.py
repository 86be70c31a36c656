"""What is wrong with one file among many, or with the disk: builds in buckets say what builds in
memory say, and leave nothing behind."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from tests.support import shop
from tests.unit.pipelines.etl.test_buckets import SEVEN

Damage = Callable[[Path], None]


def rewritten(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Damage:
    return lambda path: change(pl.read_parquet(path)).write_parquet(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    """The column's name in the footer stays, a page in the middle does not."""
    content = bytearray(path.read_bytes())
    content[20:400] = bytes(380)
    path.write_bytes(bytes(content))


FAULTS: dict[str, tuple[Damage, str]] = {
    "cut off": (cut, r"07\.parquet: not a whole parquet file"),
    "damaged": (flipped, r"07\.parquet: not a whole parquet file"),
    "a column less": (rewritten(lambda rows: rows.drop("price")), "no column 'price'"),
    "another type": (
        rewritten(lambda rows: rows.with_columns(price=pl.lit([1.0]))),
        "do not agree in their columns' types",
    ),
    "bad rows": (
        rewritten(lambda rows: pl.concat([rows] * 40).with_columns(at=pl.lit(-5, dtype=pl.Int64))),
        "rows are bad",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = shop.write(tmp_path / "shop", shop.events())
    events = pl.read_parquet(folder / "events.parquet")
    (folder / "events.parquet").unlink()
    (folder / "days").mkdir()
    for number in range(20):
        events[number * 20 : number * 20 + 20].write_parquet(folder / f"days/{number:02}.parquet")
    return folder


def recipe(folder: Path) -> Any:
    plain = shop.recipe(folder)
    source = plain.source.model_copy(update={"events": str(folder / "days" / "*.parquet")})
    return plain.model_copy(update={"source": source})


@pytest.mark.parametrize("buckets", [Buckets(1, 0, 0), SEVEN], ids=["memory", "buckets"])
@pytest.mark.parametrize(("damage", "message"), FAULTS.values(), ids=FAULTS)
def test_one_file_among_twenty_that_is_wrong_stops_the_build_by_name(
    folder: Path, tmp_path: Path, damage: Damage, message: str, buckets: Buckets
) -> None:
    damage(folder / "days/07.parquet")
    with pytest.raises(PipelineError, match=message):
        build(recipe(folder), tmp_path / "out", buckets=buckets)
    assert not (tmp_path / "out" / "shop").exists()


BUILD = """
import sys
from pathlib import Path
from falconer.pipelines.errors import ExhaustedError
from falconer.pipelines.etl.build import build
from falconer.pipelines.exhaustion import exhaustion_named
from falconer.pipelines.etl.needs import Buckets
from tests.support import shop

try:
    with exhaustion_named(Path(sys.argv[2])):
        build(shop.recipe(Path(sys.argv[1])), Path(sys.argv[2]), buckets=Buckets(3, 50, 900))
except ExhaustedError as error:
    sys.exit(str(error))
"""


def no_more_than(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [500, 8000])
def test_a_disk_that_fills_up_is_said_and_nothing_stays(
    tables: Path, tmp_path: Path, size: int
) -> None:
    command = [sys.executable, "-c", BUILD, str(tables), str(tmp_path / "out")]
    ended = subprocess.run(
        command, preexec_fn=lambda: no_more_than(size), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "the disk is full" in ended.stderr, ended.stderr
    assert not (tmp_path / "out" / "shop").exists()
