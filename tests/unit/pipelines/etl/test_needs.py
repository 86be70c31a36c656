"""What a build needs is said before it reads, and a build that is too large is refused."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, ExhaustedError
from falconer.pipelines.etl import needs
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import buckets_for, memory_of_machine, needs_of
from falconer.pipelines.etl.sizes import bytes_of
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.workers.processes import Processes
from falconer.pipelines.files import bytes_kept
from tests.support import shop


def source(tables: Path) -> Files:
    found = shop.recipe(tables).source
    assert isinstance(found, Files)
    return found


def test_a_build_that_is_too_large_is_refused_in_one_line(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ExhaustedError, match=r"50\.0 KB of memory are allowed .* raise memory_limit"
    ) as one:
        build(shop.recipe(tables, memory_limit="50KB"), tmp_path / "out")
    assert "\n" not in str(one.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"expect": {"price": {"unique": True}}}, r"expect\.unique or a share of nulls \(price\)"),
        ({"expect": {"price": {"nulls": 0.5}}}, r"expect\.unique or a share of nulls \(price\)"),
        ({"extends": "a-dataset"}, "extends"),
    ],
    ids=["unique", "nulls", "extends"],
)
def test_what_cannot_go_in_buckets_is_refused_by_name(
    tables: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ExhaustedError, match=rf"cannot go bucket by bucket with {named}; do with"):
        buckets_for(shop.recipe(tables, memory_limit="50KB", **changes), tmp_path)


@pytest.mark.parametrize("nulls", [0.0, 1.0])
def test_nulls_of_none_or_all_rows_need_no_whole(tables: Path, nulls: float) -> None:
    assert needs.not_in_buckets(shop.recipe(tables, expect={"price": {"nulls": nulls}})) == []


def test_workers_share_the_memory_and_take_some_themselves(
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = shop.recipe(tables, memory_limit="1GB")
    two, three = Processes(2), Processes(3)
    assert (buckets_for(recipe, tmp_path).n, buckets_for(recipe, tmp_path, two).n) == (1, 8)
    with pytest.raises(ExhaustedError, match="and by each worker; give fewer of them, or raise"):
        buckets_for(recipe, tmp_path, three)
    monkeypatch.setattr(needs, "BASE", 0)
    small = shop.recipe(tables, memory_limit="200KB")
    found = [buckets_for(small, tmp_path, Processes(n)) for n in (2, 4)]
    assert found[0].n < found[1].n
    assert found[0].size == 2 * found[1].size
    extends = shop.recipe(tables, extends="a-dataset")
    assert buckets_for(extends, tmp_path, two).n == 1
    assert "workers none: the build cannot go bucket by bucket with extends" in "".join(
        capsys.readouterr()
    )


def test_a_limit_that_asks_for_buckets_gives_the_same_dataset(
    tables: Path, tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "BASE", 0)
    recipe = shop.recipe(tables, memory_limit="200KB")
    assert buckets_for(recipe, tmp_path).n == 3
    built = Dataset.open(build(recipe, tmp_path))
    assert built.card.dataset_id == data.card.dataset_id
    assert built.train.equals(data.train)
    assert not list(tmp_path.rglob("spill"))


def test_what_is_needed_is_said_before_it_starts(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(shop.recipe(tables, memory_limit="1GB"), tmp_path / "out")
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert lines[0].startswith("needs   about 400 rows")
    assert "(1.0 GB allowed)" in lines[0]


def test_the_limit_decides_nothing_of_the_dataset(data: Dataset, tables: Path) -> None:
    out = data.path.parent.parent
    assert build(shop.recipe(tables, memory_limit="2GB"), out) == data.path


def test_too_little_disk_is_told_first(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ExhaustedError, match=r"of disk and 0\.0 KB are free"):
        build(shop.recipe(tables), tmp_path / "out")


def test_what_a_killed_build_left_is_no_disk_that_is_missing(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, free = shop.recipe(tables), {"free": 10}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(**free))
    kept = tmp_path / recipe.name / ".0123.kept"
    kept.mkdir(parents=True)
    (kept / "rows").write_bytes(bytes(7))
    assert bytes_kept(tmp_path / recipe.name / "0123") == 7
    with pytest.raises(ExhaustedError, match=r"\.0123\.kept is of a build that was killed"):
        buckets_for(recipe, tmp_path)
    assert buckets_for(recipe, tmp_path, kept=10**9).n == 1


def test_a_container_has_what_it_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(needs, "MEMORY_FILES", (str(limit),))
    limit.write_text("max\n")
    whole = memory_of_machine()
    limit.write_text("1000000\n")
    assert memory_of_machine() == 1_000_000 < whole


def test_lists_count_by_their_values_and_their_places(tables: Path, tmp_path: Path) -> None:
    events = pl.read_parquet(tables / "events.parquet")
    lists = events.with_columns(tags=pl.lit([1] * 50))
    lists.write_parquet(tmp_path / "events.parquet")
    plain = source(tables)
    tagged = plain.model_copy(
        update={"events": str(tmp_path / "events.parquet"), "features": (*plain.features, "tags")}
    )
    more = needs_of(tagged).memory - needs_of(plain).memory
    assert more == pytest.approx(4 * 16 * 51 * len(events), rel=0.01)
    assert needs_of(tagged, 50).disk - needs_of(tagged).disk == 4 * 50 * len(events)


def test_rows_of_text_files_are_estimated_zipped_or_not(tables: Path, tmp_path: Path) -> None:
    events = pl.concat([pl.read_parquet(tables / "events.parquet")] * 200)
    events.write_csv(tmp_path / "events.csv")
    as_text = source(tables).model_copy(update={"events": str(tmp_path / "events.csv")})
    found = needs_of(as_text)
    assert found.rows == pytest.approx(80_000, rel=0.05)
    assert found.memory > needs_of(source(tables)).memory * 100


@pytest.mark.parametrize(("text", "size"), [("4GB", 4 * 10**9), ("1.5 mb", 1_500_000), ("10B", 10)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="a size like '4GB'"):
        bytes_of("much")


def test_a_packed_file_of_equal_rows_is_taken_for_what_it_unpacks_to(tmp_path: Path) -> None:
    rows = 400_000
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(b"u,i\n" + b"user,item\n" * rows))
    packed = Files.model_validate(
        {
            "kind": "files",
            "events": str(tmp_path / "e.csv.gz"),
            "columns": {"user": "u", "item": "i"},
        }
    )
    assert needs_of(packed).rows == pytest.approx(rows, rel=0.01)
