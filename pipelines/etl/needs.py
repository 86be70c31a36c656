"""What a build will need, told from the files' sizes before any row is read: memory and disk.

A build that needs more than it may take goes bucket by bucket. The estimate is no limit that the
system enforces: `BYTES_A_ROW` and `COPIES` were measured on builds of narrow and wide files, and
lie on the safe side for both.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from falconer.pipelines.console import say
from falconer.pipelines.errors import ExhaustedError
from falconer.pipelines.etl.operators import Listed, OperatorPlugin
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sizes import UNITS, bytes_of
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.sources.tables import PARQUET
from falconer.pipelines.etl.split.config import Given, GivenCandidates, SplitPlugin
from falconer.pipelines.etl.workers.tasks import Here, Workers
from falconer.pipelines.files import KEPT

SHARE = 0.6
"""Of the machine's or container's memory that a build may take by default."""
BYTES_A_ROW = 300
"""At the peak, beside the columns: ids, hashes, parts and order of an event."""
COPIES = 4
"""How often the columns stand in memory at the peak."""
POINTER, NUMBER = 16, 8
"""Bytes of a text's place and of a number, in memory; a value of a list is a text too."""
PLACE = 4
"""Bytes of an id in a column of a list's place."""
BASE = 300 * 10**6
"""Bytes that the program takes before it reads a row, and that the allocator keeps."""
LEAST_ROWS, MOST_ROWS = 2**12, 2**20
"""Read at once."""
LEAST_BUCKETS, MOST_BUCKETS = 8, 1000
"""The least where there are several workers."""
SPILLED, SPILLED_A_ROW = 2.5, 150
"""How often the columns lie on disk at the peak of a build in buckets, with the dataset, and bytes
a row beside them: at most four fifths of that were seen, with narrow, wide and text rows."""
SAMPLE = 2**20
"""Bytes of a text file from which its rows are counted."""
GZIP_RATIO = 5
MEMORY_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Needs:
    """Estimated rows, and bytes of memory at the peak and of disk: for the dataset alone, and for
    a build in buckets."""

    rows: int
    memory: int
    disk: int
    spilled: int


def memory_of_machine() -> int:
    """Bytes of memory of the machine, or of the container where that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in MEMORY_FILES:
        path = Path(name)
        text = path.read_text(encoding="ascii").strip() if path.is_file() else "max"
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


@dataclass(frozen=True)
class Buckets:
    """How a build is parted so that it fits: `n` buckets, `rows` read at once, and `size` bytes of
    a sorted table at once."""

    n: int
    rows: int
    size: int


def buckets_for(
    recipe: EtlRecipe, out: Path, workers: Workers | None = None, *, kept: int = 0
) -> Buckets:
    """Say what the build will need, and how many buckets that makes; raise `ExhaustedError` where
    there is too little memory or disk. The workers of a machine share its memory; `kept` bytes are
    on the disk already, of an earlier build that this one goes on with."""
    assert isinstance(recipe.source, Files)
    needs = needs_of(recipe.source, places_of(recipe))
    machine = memory_of_machine()
    allowed = bytes_of(recipe.memory_limit) if recipe.memory_limit else int(SHARE * machine)
    reasons = not_in_buckets(recipe)
    if workers is not None and workers.n > 1 and reasons:
        say(f"workers none: the build cannot go bucket by bucket with {', '.join(reasons)}")
        workers = None
    buckets = _parted(needs, allowed, workers or Here())
    disk = needs.disk if buckets.n == 1 else needs.spilled
    free = shutil.disk_usage(_there(out)).free + kept
    say(
        f"needs   about {needs.rows:,} rows, {_shown(needs.memory)} of memory in one piece "
        f"({_shown(allowed)} allowed), {_told(buckets)}, at most {_shown(disk)} of disk "
        f"({_shown(free)} free)"
    )
    if buckets.n > 1 and reasons:
        raise ExhaustedError(
            f"the build needs about {_shown(needs.memory)} of memory for {needs.rows:,} rows and "
            f"{_shown(allowed)} are allowed, and it cannot go bucket by bucket with "
            f"{', '.join(reasons)}; do without, read fewer columns or files, or raise memory_limit "
            f"in the recipe (this machine has {_shown(machine)})"
        )
    if buckets.n > MOST_BUCKETS:
        alone = workers is None or workers.n == 1
        raise ExhaustedError(
            f"{_shown(allowed)} of memory are allowed and {_shown(BASE)} are taken by the program "
            f"itself{'' if alone else ' and by each worker; give fewer of them, or'}"
            f"{';' if alone else ''} raise memory_limit in the recipe (this machine has "
            f"{_shown(machine)})"
        )
    if disk > free:
        raise ExhaustedError(
            f"{out}: the build may need {_shown(disk)} of disk and {_shown(free)} are free; free "
            f"some space{_left(out / recipe.name)}, or name another folder with --out"
        )
    return buckets


def _left(folder: Path) -> str:
    """What killed builds left there, in words."""
    places = ", ".join(str(path) for path in sorted(folder.glob(f".*{KEPT}")))
    return f" ({places} is of a build that was killed)" if places else ""


def _told(buckets: Buckets) -> str:
    if buckets.n > MOST_BUCKETS:
        return "in too many buckets"
    return "in memory" if buckets.n == 1 else f"in {buckets.n} buckets"


def _parted(needs: Needs, allowed: int, workers: Workers) -> Buckets:
    """Among workers, each of which takes `BASE` as this process does, there is a bucket for each,
    and enough of them that their number does not matter as long as few work."""
    left = allowed - BASE
    if workers.n > 1:
        left = left // workers.n_on_a_machine - BASE
    n = 1 if needs.memory <= left else -(-2 * needs.memory // max(left, 1))
    if workers.n > 1:
        n = max(n, workers.n, LEAST_BUCKETS)
    left = max(left, 1)
    a_row = needs.memory / max(needs.rows, 1)
    rows = min(max(int(left / 8 / max(a_row, 1)), LEAST_ROWS), MOST_ROWS)
    return Buckets(n, rows, left // 16)


def not_in_buckets(recipe: EtlRecipe) -> list[str]:
    """What the recipe has that needs all rows at once, by name."""
    source = recipe.source
    shares = [n for n, one in recipe.expect.items() if one.unique or 0 < one.nulls < 1]
    others = [n for _, n, one in recipe.features.each() if isinstance(one, OperatorPlugin)]
    reasons = {
        f"source.kind = {source.kind!r}": not isinstance(source, Files),
        f"split.protocol = {recipe.split.protocol!r}": isinstance(
            recipe.split, Given | GivenCandidates | SplitPlugin
        ),
        f"features of other packages ({', '.join(others)})": others,
        "extends": recipe.extends is not None,
        "[logged]": recipe.logged is not None,
        f"expect.unique or a share of nulls ({', '.join(shares)})": shares,
    }
    return [name for name, holds in reasons.items() if holds]


def places_of(recipe: EtlRecipe) -> int:
    """Columns that lists of events become."""
    lists = [one for one in recipe.features.event.values() if isinstance(one, Listed)]
    return sum(one.length for one in lists)


def needs_of(source: Files, places: int = 0) -> Needs:
    """The estimate for the event files of a source, whose lists become so many `places`; tables of
    users and items are not counted."""
    names = [name for _, name in source.columns if name is not None]
    wanted = {*names, *source.features}
    sizes = [
        _of_parquet(path, wanted) if path.suffix.lower() in PARQUET else _of_text(path, len(wanted))
        for path in source.event_paths()
    ]
    rows, held = (sum(one) for one in zip(*sizes, strict=True))
    held += rows * NUMBER * sum(len(table.columns) for table in source.external)
    held += rows * PLACE * places
    spilled = rows * SPILLED_A_ROW + int(SPILLED * held)
    return Needs(rows, rows * BYTES_A_ROW + COPIES * held, held + rows * NUMBER, spilled)


def _of_parquet(path: Path, wanted: set[str]) -> tuple[int, int]:
    """Rows, and bytes of the wanted columns in memory. A damaged file counts for nothing here: its
    reader refuses it by name."""
    try:
        file = pq.read_metadata(path)
    except (OSError, ValueError, pa.ArrowException):
        return 0, 0
    width = 0.0
    for number in range(file.num_columns):
        column = file.schema.column(number)
        if str(column.path).split(".")[0] in wanted:
            text = column.physical_type == "BYTE_ARRAY"
            if column.max_repetition_level:
                width += POINTER + POINTER * _values_a_row(file, number)
            else:
                width += POINTER + _stored(file, number) if text else float(NUMBER)
    return file.num_rows, int(file.num_rows * width)


def _values_a_row(file: pq.FileMetaData, number: int) -> float:
    """Mean number of values in a list."""
    groups = range(file.num_row_groups)
    values: int = sum(file.row_group(group).column(number).num_values for group in groups)
    return values / max(int(file.num_rows), 1)


def _stored(file: pq.FileMetaData, number: int) -> float:
    """Mean bytes a value of a column, as stored before compression."""
    groups = range(file.num_row_groups)
    sizes = [file.row_group(group).column(number).total_uncompressed_size for group in groups]
    stored: int = sum(sizes)
    return stored / max(int(file.num_rows), 1)


def _of_text(path: Path, n_columns: int) -> tuple[int, int]:
    """Rows, and bytes in memory, of a text file: its columns stay text until they are checked."""
    zipped, size = path.suffix.lower() == ".gz", path.stat().st_size
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            sample = stream.read(SAMPLE)
    except (OSError, EOFError, zlib.error):
        return 0, 0
    size = max(size * GZIP_RATIO, _unpacked_size(path)) if zipped else size
    size = len(sample) if len(sample) < SAMPLE else size
    rows = int(size * sample.count(b"\n") / max(len(sample), 1))
    return rows, size + rows * n_columns * POINTER


def _unpacked_size(path: Path) -> int:
    """Bytes of the last member of a gzip file, modulo 2^32, as its end says (RFC 1952): equal rows
    pack a thousand to one."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _there(path: Path) -> Path:
    """The nearest folder above `path` that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _shown(size: int) -> str:
    unit = next((u for u in ("TB", "GB", "MB") if size >= UNITS[u]), "KB")
    return f"{size / UNITS[unit]:.1f} {unit}"
