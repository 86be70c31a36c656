"""A new day is appended without reading the old ones, and gives what a full build gives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.etl.append import append, append_since
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.held import LATE
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.files import read_json, write_json
from tests.support import shop

FIRST = datetime.fromtimestamp(shop.START, UTC).date()


def write_days(folder: Path, first: int, end: int) -> None:
    """The shop's events of these days of thirty-one, a folder each."""
    day = (pl.col("at") // shop.DAY) - shop.START // shop.DAY
    events = shop.events(2000, n_users=40, n_items=60).sort("at")
    new = (day >= 17) & (pl.col("customer") % 5 == 0)
    events = events.with_columns(sku=pl.when(new).then("sku" + pl.lit("-new")).otherwise("sku"))
    for number in range(first, end):
        name = f"date={FIRST + timedelta(days=number)}"
        (folder / name).mkdir(parents=True)
        events.filter(day == number).write_parquet(folder / name / "part.parquet")


def recipe(folder: Path, **changes: object) -> EtlRecipe:
    plain = shop.recipe(folder, **changes)
    source = plain.source.model_copy(
        update={"events": str(folder / "date=*" / "*.parquet"), "partition": "date"}
    )
    return plain.model_copy(update={"source": source})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = shop.write(tmp_path / "shop", shop.events())
    write_days(folder, 0, 25)
    return folder


@pytest.mark.parametrize("worth", [0.0, 1e9], ids=["whole tables", "changes"])
def test_an_appended_day_is_what_a_full_build_gives(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: float
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.layering.WORTH", worth)
    first = build(recipe(folder), tmp_path / "out")
    write_days(folder, 25, 26)
    ours = Dataset.open(append(recipe(folder), first, tmp_path / "out"))
    theirs = Dataset.open(build(recipe(folder, extends=str(first)), tmp_path / "full"))
    ours.verify()
    assert pl.DataFrame(ours.train).equals(pl.DataFrame(theirs.train))
    for name in theirs.card.content:
        if name.endswith(".parquet") and not name.startswith("train/"):
            assert ours.table(name).equals(theirs.table(name)), name
            # No reader takes an old state for the new one.
            assert (ours.path / name).is_file() == (name in ours.card.content), name
    assert all(any(path.iterdir()) for path in ours.path.rglob("*") if path.is_dir())
    told = [name for name in ours.card.content if name.startswith("layers/00001/")]
    assert len(told) > 12 if worth else not told
    assert ours.card.n_items > Dataset.open(first).card.n_items
    assert ours.card.id_space == theirs.card.id_space
    assert ours.card.counts["train_events"] == len(theirs.train)
    told_so = [
        any(note.startswith("Days were") for note in one.card.notes) for one in (ours, theirs)
    ]
    assert told_so == [True, False]


def test_days_appended_one_by_one_hold_the_same_events(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.layering.WORTH", 1e9)
    monkeypatch.setattr("falconer.pipelines.etl.layering.MOST_CHANGES", 2)
    first = appended = build(recipe(folder), tmp_path / "out")
    for number, day in enumerate(range(25, 28), 1):
        write_days(folder, day, day + 1)
        appended = append(recipe(folder), appended, tmp_path / "out")
        _same_through_every_door(Dataset.open(appended))
        layered = (appended / f"layers/{number:05}/events/test.parquet").is_file()
        assert layered == (number < 3)
    full = build(recipe(folder, extends=str(first)), tmp_path / "full")
    ours, theirs = Dataset.open(appended), Dataset.open(full)
    assert _by_key(ours).equals(_by_key(theirs))
    assert ours.card.counts["test_events"] == theirs.card.counts["test_events"]
    assert ours.card.id_space.descends_from(Dataset.open(first).card.id_space)


def test_a_state_that_lacks_a_change_between_others_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.layering.WORTH", 1e9)
    appended = build(recipe(folder), tmp_path / "out")
    for day in (25, 26, 27):
        write_days(folder, day, day + 1)
        appended = append(recipe(folder), appended, tmp_path / "out")
    name = "queries/test.parquet"
    card = read_json(appended / "dataset.json")
    of_second = [one for one in card["content"] if re.match(rf"layers/00002/.*{name}", one)]
    assert of_second
    for one in of_second:
        del card["content"][one]
    write_json(appended / "dataset.json", card)
    data = Dataset.open(appended)
    for read in (lambda: data.queries("test"), lambda: data.queries_id("test")):
        with pytest.raises(ArtifactError, match=f"names no layers/00002/{name}, and later changes"):
            read()


def _same_through_every_door(data: Dataset) -> None:
    """Blocks, keys and numbers of queries and truth are those of the whole tables."""
    queries, truth, keys = data.queries("test"), data.truth("test"), data.query_keys("test")
    assert data.n_queries("test") == len(queries) == len(keys)
    assert data.query_key_type("test") == keys.type
    blocks = list(data.query_blocks("test", 7))
    assert pa.concat_arrays([one for one, _ in blocks]).equals(keys)
    histories = [
        row.tolist()
        for _, block in blocks
        for row in map(block.history.__getitem__, range(len(block)))
    ]
    assert histories == [queries.history[row].tolist() for row in range(len(queries))]
    found = np.concatenate([block.items.values for block in data.truth_blocks("test", 7)])
    assert np.array_equal(found, truth.items.values)


def _by_key(data: Dataset) -> pl.DataFrame:
    """The train events by the shop's own ids: those of ours depend on which day brought them."""
    keys = [pl.Series(one.column("key").to_pylist()) for one in (data.users, data.items)]
    train = pl.DataFrame(data.train)
    return train.with_columns(
        user=keys[0].gather(train["user"]), item=keys[1].gather(train["item"])
    )


def test_old_train_parts_are_links_and_old_days_are_not_read(folder: Path, tmp_path: Path) -> None:
    first = build(recipe(folder), tmp_path / "out")
    write_days(folder, 25, 26)
    old = next(folder.glob("date=*/part.parquet"))
    old.write_bytes(b"x" * old.stat().st_size)
    child = append(recipe(folder), first, tmp_path / "out")
    part = "train/part-00000.parquet"
    assert (child / part).stat().st_ino == (first / part).stat().st_ino
    assert (child / "train/part-00001.parquet").is_file()
    held, total = (Dataset.open(child).card.counts[k] for k in ("held_over_events", "rows_read"))
    assert (held > 0, total < 200) == (True, True)


def test_the_dataset_that_a_day_follows_is_found(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"no dataset of this recipe ends before"):
        append_since(recipe(folder), FIRST + timedelta(days=25), out)
    build(recipe(folder, clean={"deduplicate": "events"}), out)
    first = build(recipe(folder), out)
    for day in (25, 26):
        write_days(folder, day, day + 1)
    with pytest.raises(ConfigError, match=f"append the days --since {FIRST + timedelta(25)}"):
        append_since(recipe(folder), FIRST + timedelta(days=26), out)
    child = append_since(recipe(folder), FIRST + timedelta(days=25), out)
    assert child == append(recipe(folder), first, out)
    assert append_since(recipe(folder), FIRST + timedelta(days=25), out) == child
    write_days(folder, 27, 28)
    grown = append_since(recipe(folder), FIRST + timedelta(days=27), out)
    assert grown == append(recipe(folder), child, out)


def test_nothing_new_is_nothing_to_do(folder: Path, tmp_path: Path) -> None:
    first = build(recipe(folder), tmp_path / "out")
    assert append(recipe(folder), first, tmp_path / "out") == first


def test_late_doubled_and_changed_days_are_refused(folder: Path, tmp_path: Path) -> None:
    first = build(recipe(folder), tmp_path / "out")
    source = next(folder.glob("date=*/part.parquet"))
    doubled = folder / f"date={FIRST + timedelta(days=25)}" / "part.parquet"
    doubled.parent.mkdir()
    doubled.write_bytes(source.read_bytes())
    with pytest.raises(DataError, match="the day is doubled"):
        append(recipe(folder), first, tmp_path / "out")
    doubled.unlink()
    late = folder / f"date={FIRST - timedelta(days=3)}" / "part.parquet"
    late.parent.mkdir()
    shop.events(50, seed=9).write_parquet(late)
    with pytest.raises(DataError, match="is late: the dataset holds days up to"):
        append(recipe(folder), first, tmp_path / "out")
    late.unlink()
    shop.events(50, seed=9).write_parquet(source)
    with pytest.raises(DataError, match="was read already and is another one now"):
        append(recipe(folder), first, tmp_path / "out")


def test_a_few_late_events_are_counted_and_many_are_refused(folder: Path, tmp_path: Path) -> None:
    loose = {"contract": {"max_rejected_share": 0.05}}
    first, loosely = (build(recipe(folder, **c), tmp_path / "out") for c in ({}, loose))
    write_days(folder, 25, 26)
    day = folder / f"date={FIRST + timedelta(days=25)}" / "part.parquet"
    events = pl.read_parquet(day)
    late = events[:1].with_columns(at=pl.lit(shop.START, pl.Int64))
    pl.concat([events, late]).write_parquet(day)
    child = Dataset.open(append(recipe(folder, **loose), loosely, tmp_path / "out"))
    assert child.card.counts[LATE] == 1
    with pytest.raises(DataError, match="new events are late"):
        append(recipe(folder), first, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "random"}, "a split that is not temporal"),
        ({"catalogue": {"min_item_users": 2}}, "min_item_users"),
        ({"clean": {"deduplicate": "pairs_last"}}, "pairs_last"),
        ({"clean": {"deduplicate": "events"}}, r"another \[clean\]"),
    ],
)
def test_what_append_cannot_do_is_refused_by_name(
    folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    first = build(recipe(folder), tmp_path / "out")
    with pytest.raises(ConfigError, match=message):
        append(recipe(folder, **changes), first, tmp_path / "out")


def test_a_dataset_without_days_keeps_nothing_to_append_to(
    folder: Path, tmp_path: Path, data: Dataset
) -> None:
    with pytest.raises(ArtifactError, match=r"set source\.partition"):
        append(recipe(folder), data.path, tmp_path / "out")


def test_a_column_that_changed_its_type_is_named(folder: Path, tmp_path: Path) -> None:
    first = build(recipe(folder), tmp_path / "out")
    write_days(folder, 25, 26)
    day = folder / f"date={FIRST + timedelta(days=25)}" / "part.parquet"
    pl.read_parquet(day).with_columns(store=pl.lit(7)).write_parquet(day)
    with pytest.raises(DataError, match="column 'store' holds"):
        append(recipe(folder), first, tmp_path / "out")
