"""What an appended day writes: the changes of its parent's tables, where they are small."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.data.layers import Change, base_of, changes_of, names_of
from falconer.pipelines.data.schema import VALID_EVENTS, Fold
from falconer.pipelines.etl.changes import change_of
from falconer.pipelines.etl.held import DAYS, EVENTS
from falconer.pipelines.files import checksums

KEYS: Mapping[str, str] = {
    "users.parquet": "id",
    "items.parquet": "id",
    "vocab/user.parquet": "id",
    "vocab/item.parquet": "id",
    VALID_EVENTS: "ordinal",
    EVENTS: "ordinal",
    DAYS: "path",
    **{f"events/{part}.parquet": "hash" for part in ("train", "valid", "test")},
    **{f"queries/{fold}.parquet": "user_key" for fold in ("valid", "test")},
    **{f"truth/{fold}.parquet": "user_key" for fold in ("valid", "test")},
}
"""Table -> the column that tells its rows; truth's is that of the queries beside it."""
MOST_CHANGES = 30
"""Then a table is written as a whole again: reading takes all changes one after the other."""
WORTH = 0.5
"""Of the table's bytes, what all its changes may have."""


def layer(root: Path, parent: Dataset) -> dict[str, str]:
    """Put changes in the place of tables below `root`, where these are the parent's with little
    changed; returns the files that are the parent's too, with their checksums.

    A table is as it was before, when it is read: that is tried before it goes.
    """
    linked: dict[str, str] = {}
    # Truth before the queries whose keys it needs.
    for name, checksum in sorted(checksums(root).items(), reverse=True):
        if not name.startswith("train/"):
            linked |= _layered(root, name, checksum, parent)
    return linked


def _layered(root: Path, name: str, checksum: str, parent: Dataset) -> dict[str, str]:
    content, path = parent.card.content, root / name
    if content.get(name) == checksum:
        return _linked(root, {name: name}, parent)
    if name not in KEYS or not parent.has_table(name):
        return {}
    before = list(changes_of(content, name))
    old, new = parent.table(name), parquet.read(path)
    change = change_of(old, new, *_keys(old, new, name, root, parent))
    if change is None or len(before) == MOST_CHANGES:
        return {}
    written = _write(root, len(before) + 1, name, change)
    size = sum(path.stat().st_size for path in written)
    size += sum((parent.path / one).stat().st_size for files in before for one in files)
    if size > WORTH * path.stat().st_size:
        for one in written:
            _remove(one)
        return {}
    _remove(path)
    links = {base_of(name): name if name in content else base_of(name)}
    links |= {one: one for files in before for one in files}
    return _linked(root, links, parent)


def _remove(path: Path) -> None:
    """Take a file away, and the folders that are empty then."""
    path.unlink()
    with suppress(OSError):
        for folder in path.parents:
            folder.rmdir()


def _keys(
    old: pa.Table, new: pa.Table, name: str, root: Path, parent: Dataset
) -> tuple[pl.Series, pl.Series]:
    """What tells the rows of both tables."""
    key = KEYS[name]
    if name.startswith("truth/"):
        fold: Fold = "valid" if name == "truth/valid.parquet" else "test"
        queries = root / f"queries/{fold}.parquet"
        keys = parquet.read(queries, [key]).column(key), parent.query_keys(fold)
        return pl.Series(pl.from_arrow(keys[1])), pl.Series(pl.from_arrow(keys[0]))
    return pl.DataFrame(old.select([key]))[key], pl.DataFrame(new.select([key]))[key]


def _write(root: Path, number: int, name: str, change: Change) -> list[Path]:
    """Write what a change holds; the files."""
    rows, gone, lists, columns = names_of(number, name)
    if change.rows.num_rows:
        write_table(root, rows, change.rows)
    if len(change.gone):
        write_table(root, gone, {"row": change.gone})
    if change.lists.num_rows:
        write_table(root, lists, change.lists)
    if change.columns.column_names:
        write_table(root, columns, change.columns)
    return [root / one for one in names_of(number, name) if (root / one).is_file()]


def _linked(root: Path, links: Mapping[str, str], parent: Dataset) -> dict[str, str]:
    """Put the parent's files (its names are the values) below `root`, as links where the file
    system has them; their names and checksums."""
    for ours, theirs in links.items():
        path = root / ours
        parent.check(theirs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(parent.path / theirs)
        except OSError:
            shutil.copyfile(parent.path / theirs, path)
    return {ours: parent.card.content[theirs] for ours, theirs in links.items()}
