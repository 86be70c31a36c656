"""The ETL beside what somebody would write by hand, and in a memory that is too small for its rows.

python -m tests.benchmarks.etl_scale wide [--rows N]      beside Polars and DuckDB by hand
python -m tests.benchmarks.etl_scale nvtabular [--rows N] the same on NVTabular, and that by default
python -m tests.benchmarks.etl_scale narrow [--rows N]    beside a Polars script without checks
python -m tests.benchmarks.etl_scale growth [--rows N]    at 1, 2, 4 and 8 times, 600 MB allowed
python -m tests.benchmarks.etl_scale bounded [--rows N] [--limit SIZE]
python -m tests.benchmarks.etl_scale promotions           The Complete Journey's, with products
python -m tests.benchmarks.etl_scale append               a day of The Complete Journey
python -m tests.benchmarks.etl_scale workers --limit 3GB        wide rows by 1, 2 and 4 processes
python -m tests.benchmarks.etl_scale all                  what `make bench-etl` measures
python -m tests.benchmarks.etl_scale long                 what `make bench-etl-long` does
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from falconer.pipelines.etl.sources import CompleteJourney
from tests.benchmarks.measured import Measured, measure, measure_command

PIECE = 1_000_000
"""Rows that are made at once, so that making them takes little memory."""
NUMBERS = [f"x{place}" for place in range(13)]
CATEGORIES = [f"c{place}" for place in range(26)]
PEERS = Path(__file__).parent / "peers"
NO_LIMIT = "100GB"
SEEN = 0.628
"""Of so many users a row, drawn by chance, half a user a row is seen."""


def narrow_rows(path: Path, rows: int, users: int) -> None:
    """Users, items and seconds of ninety days."""
    rng = np.random.default_rng(0)

    def piece(n: int) -> pa.Table:
        times = 1_600_000_000 + rng.integers(0, 90 * 86_400, n)
        items = np.minimum(rng.zipf(1.3, n), 200_000)
        return pa.table({"user": rng.integers(0, users, n) * 7919, "item": items, "time": times})

    _made(path, rows, piece)


def wide_rows(path: Path, rows: int) -> None:
    """A label, 13 numbers and 26 categories, as click logs have them."""
    rng = np.random.default_rng(0)
    sizes = np.geomspace(10, 100_000, len(CATEGORIES)).astype(int)

    def piece(n: int) -> pa.Table:
        columns: dict[str, Any] = {"label": rng.integers(0, 2, n)}
        pairs = zip(CATEGORIES, sizes, strict=True)
        categories = {name: rng.integers(0, size, n) for name, size in pairs}
        return pa.table(columns | {name: rng.exponential(3.0, n) for name in NUMBERS} | categories)

    _made(path, rows, piece)


def _made(path: Path, rows: int, piece: Callable[[int], pa.Table]) -> None:
    with pq.ParquetWriter(path, piece(1).schema) as writer:
        for first in range(0, rows, PIECE):
            writer.write_table(piece(min(PIECE, rows - first)))


def narrow_recipe(source: Path) -> dict[str, Any]:
    """Ids, a split by time, and histories."""
    columns = {"user": "user", "item": "item", "time": "time"}
    return {
        "name": "narrow",
        "source": {"kind": "files", "events": str(source), "columns": columns},
        "split": {"protocol": "temporal", "test_days": 7, "valid_days": 7},
    }


def wide_recipe(source: Path) -> dict[str, Any]:
    """All rows but one in a thousand are train, every column is a feature."""
    features = {name: {"kind": "continuous"} for name in NUMBERS}
    features |= {name: {"kind": "categorical"} for name in CATEGORIES}
    return {
        "name": "wide",
        "task": "labels",
        "source": {"kind": "files", "events": str(source), "columns": {"label": "label"}},
        "target": {"kind": "binary", "column": "label"},
        "split": {"protocol": "random", "test_share": 0.001, "valid_share": 0.0},
        "features": {"event": features},
    }


def promotions_recipe(data: Path) -> dict[str, Any]:
    """The products that a shop promoted, with what the table of products says of them."""
    features = {name: {"kind": "categorical"} for name in ("department", "brand")}
    return {
        "name": "promotions",
        "source": {
            "kind": "files",
            "events": str(data / "promotions.parquet"),
            "columns": {"user": "store_id", "item": "product_id"},
            "items": {"path": str(data / "products.parquet"), "key": "product_id"},
        },
        "split": {"protocol": "random"},
        "features": {"event": {"week": {"kind": "categorical"}}, "item": features},
    }


def days_recipe(folder: Path, data: Path) -> dict[str, Any]:
    """The Complete Journey's purchases, a folder a day."""
    features = {name: {"kind": "categorical"} for name in ("department", "brand")}
    columns = {"user": "household_id", "item": "product_id", "time": "transaction_timestamp"}
    return {
        "name": "days",
        "source": {
            "kind": "files",
            "events": str(folder / "date=*" / "*.parquet"),
            "partition": "date",
            "columns": columns,
            "items": {"path": str(data / "products.parquet"), "key": "product_id"},
        },
        "split": {"protocol": "temporal", "test_days": 28, "valid_days": 28},
        "features": {"event": {"sales_value": {"kind": "continuous"}}, "item": features},
    }


def built(
    recipe: dict[str, Any],
    folder: Path,
    *more: str,
    limit: str = NO_LIMIT,
    engine: str = "polars",
) -> Measured:
    """Build it within `limit`, anew in `folder`."""
    folder.mkdir(exist_ok=True)
    file = folder / "recipe.toml"
    file.write_text(_toml(recipe), encoding="utf-8")
    sets = ["--set", f'memory_limit="{limit}"', "--set", f'features.engine="{engine}"']
    return measure("etl", str(file), "--out", str(folder / "out"), *sets, *more, folder=folder)


def _toml(recipe: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {_inline(value)}" for key, value in recipe.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(one)}" for key, one in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def peer(script: str, source: Path, folder: Path) -> Measured:
    """Run another program on the same file."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(PEERS / script), str(source), str(folder)]
    return measure_command(*command, folder=folder)


def wide(folder: Path, rows: int, rounds: int = 3) -> None:
    """Print what many columns take, here and by hand."""
    source = folder / "wide.parquet"
    wide_rows(source, rows)
    found = _medians(
        rounds,
        {
            "falconer etl": lambda: _anew(wide_recipe(source), folder / "wide"),
            "Polars by hand": lambda: peer("etl_polars_wide.py", source, folder / "polars"),
            "DuckDB by hand": lambda: peer("etl_duckdb_wide.py", source, folder / "duckdb"),
        },
    )
    _table("rows x 13 numbers + 26 categories", rows, source, found)


def nvtabular(folder: Path, rows: int) -> None:
    """Print what many columns take on NVTabular, as we run it and by its default settings: 4 GB a
    million rows."""
    source = folder / "nvtabular.parquet"
    wide_rows(source, rows)
    ours = wide_recipe(source)
    found = {
        "falconer etl, Polars": _anew(ours, folder / "wide"),
        "falconer etl, NVTabular": _anew(ours, folder / "wide", engine="nvtabular"),
        "NVTabular, default": peer("etl_nvtabular_wide.py", source, folder / "default"),
    }
    _table("rows x 13 numbers + 26 categories", rows, source, found)


def narrow(folder: Path, rows: int, rounds: int = 3) -> None:
    """Print what ids, split and histories take, here and without checks."""
    source = folder / "narrow.parquet"
    narrow_rows(source, rows, rows // 20)
    by_hand = folder / "by-hand"
    found = _medians(
        rounds,
        {
            "falconer etl": lambda: _anew(narrow_recipe(source), folder / "narrow"),
            "Polars by hand, no checks": lambda: peer("etl_polars_narrow.py", source, by_hand),
        },
    )
    _table("rows of user, item and time", rows, source, found)


def _anew(recipe: dict[str, Any], folder: Path, *, engine: str = "polars") -> Measured:
    """As `built`, without limit, and what was written is removed."""
    found = built(recipe, folder, engine=engine)
    rmtree(folder)
    return found


def _medians(rounds: int, runs: dict[str, Callable[[], Measured]]) -> dict[str, Measured]:
    """The run of each that took the median time, of rounds in which they take turns."""
    found: dict[str, list[Measured]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
    return {
        name: sorted(each, key=attrgetter("seconds"))[rounds // 2] for name, each in found.items()
    }


def _table(what: str, rows: int, source: Path, found: dict[str, Measured]) -> None:
    size = source.stat().st_size
    print(f"{rows:,} {what}, {size / 1e6:,.0f} MB of parquet")
    first = next(iter(found.values()))
    for name, one in found.items():
        print(
            f"  {name:<26}{one.cpu_seconds:7.1f} CPU s {one.cpu_seconds / first.cpu_seconds:6.2f} x"
            f"{one.seconds:8.1f} s {one.seconds / first.seconds:6.2f} x"
            f"{rows / one.seconds / 1e6:7.2f} M rows/s"
            f"{size / one.seconds / 1e9:7.3f} GB/s{one.peak_mb:8,.0f} MB"
        )


def workers(folder: Path, rows: int, limit: str, counts: Sequence[int] = (1, 2, 4)) -> None:
    """Print what the wide rows take with more and more workers, all within one limit."""
    source = folder / "for-workers.parquet"
    wide_rows(source, rows)
    for n in counts:
        more = ("--workers", str(n))
        found = built(wide_recipe(source), folder / f"workers-{n}", *more, limit=limit)
        _say(f"{rows:,} wide rows, {n} workers, the largest process", found, limit)


def growth(folder: Path, rows: int) -> None:
    """Print time and memory at multiples of `rows`, all within the memory that is allowed."""
    for times in (1, 2, 4, 8):
        bounded(folder / f"{times}", rows * times, "600MB")


def bounded(folder: Path, rows: int, limit: str) -> Measured:
    """Print what a build of so many rows took within the limit; half as many users are among
    them."""
    folder.mkdir(exist_ok=True)
    source = folder / "rows.parquet"
    narrow_rows(source, rows, int(SEEN * rows))
    found = built(narrow_recipe(source), folder, limit=limit)
    _say(f"{rows:,} rows", found, limit)
    source.unlink()
    return found


PROMOTIONS = {"polars": "800MB", "nvtabular": "2GB"}
"""Engine -> what it may take for them."""


def promotions(folder: Path, limits: Mapping[str, str] = PROMOTIONS) -> None:
    """Print what the largest table of The Complete Journey took, by engine."""
    recipe = promotions_recipe(_journey())
    rows = pq.read_metadata(recipe["source"]["events"]).num_rows
    for engine, limit in limits.items():
        found = built(recipe, folder / engine, limit=limit, engine=engine)
        _say(f"{rows:,} promotions joined with products, {engine}", found, limit)
        rmtree(folder / engine)


def _say(what: str, found: Measured, limit: str) -> None:
    print(
        f"{what}, memory_limit {limit}: peak {found.peak_mb:,.0f} MB, {found.cpu_seconds:,.0f} CPU "
        f"s, {found.seconds:,.0f} s"
    )


def append(folder: Path) -> None:
    """Print what the last day of The Complete Journey took, and how many bytes."""
    data, days = _journey(), folder / "days"
    rows = pl.read_parquet(data / "transactions.parquet")
    dated = rows.with_columns(day=pl.col("transaction_timestamp").dt.date())
    parts = dated.partition_by("day", as_dict=True, include_key=False)
    *earlier, last = sorted(parts)
    for day in earlier:
        _write_day(days, day[0], parts[day])
    recipe = days_recipe(days, data)
    whole = built(recipe, folder / "days-out")
    _write_day(days, last[0], parts[last])
    found = built(recipe, folder / "days-out", "--append", whole.last_line)
    size = sum(
        path.stat().st_size
        for path in Path(found.last_line).rglob("*")
        if path.is_file() and path.stat().st_nlink == 1
    )
    print(
        f"a day of {len(parts[last]):,} of {len(rows):,} purchases appended: "
        f"{found.cpu_seconds:.1f} CPU s, {found.seconds:.1f} s, {size / 1e6:.1f} MB written; "
        f"all days anew: {whole.cpu_seconds:.1f} CPU s, {whole.seconds:.1f} s"
    )


def _write_day(folder: Path, day: object, rows: pl.DataFrame) -> None:
    path = folder / f"date={day}"
    path.mkdir(parents=True)
    rows.write_parquet(path / "part.parquet")


def _journey() -> Path:
    """The folder of The Complete Journey's tables."""
    return next(iter(CompleteJourney(kind="complete_journey").files().values())).parent


def everything(folder: Path) -> None:
    """What `make bench-etl` prints."""
    wide(folder, 5_000_000)
    nvtabular(folder, 1_000_000)
    narrow(folder, 5_000_000)
    growth(folder, 500_000)
    workers(folder, 2_000_000, "3GB", counts=[1, 2])
    bounded(folder / "bounded", 10_000_000, "1GB")
    promotions(folder)
    append(folder)


def long(folder: Path) -> None:
    """What `make bench-etl-long` prints, with 40 GB of disk."""
    workers(folder, 45_000_000, "6GB", counts=[1])
    bounded(folder / "bounded", 200_000_000, "4GB")


def main() -> None:
    """Run what the command line asks for."""
    runs: dict[str, Callable[[Path, int, str], object]] = {
        "wide": lambda folder, rows, _: wide(folder, rows),
        "nvtabular": lambda folder, rows, _: nvtabular(folder, rows),
        "narrow": lambda folder, rows, _: narrow(folder, rows),
        "growth": lambda folder, rows, _: growth(folder, rows),
        "bounded": lambda folder, rows, limit: bounded(folder / "bounded", rows, limit),
        "promotions": lambda folder, *_: promotions(folder),
        "append": lambda folder, *_: append(folder),
        "workers": lambda folder, rows, limit: workers(folder, rows, limit),
        "all": lambda folder, *_: everything(folder),
        "long": lambda folder, *_: long(folder),
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=runs)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--limit", default="800MB")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        runs[given.what](Path(name), given.rows, given.limit)


if __name__ == "__main__":
    main()
