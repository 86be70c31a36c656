"""Rules of a line or two, at their boundaries."""

from __future__ import annotations

import math
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl import append, contract, describe, needs
from falconer.pipelines.etl.clean import Keep, _left_out
from falconer.pipelines.etl.features import Encoder
from falconer.pipelines.etl.needs import BASE, LEAST_BUCKETS, LEAST_ROWS, MOST_ROWS, Needs
from falconer.pipelines.etl.newcomers import NewcomerFeatures
from falconer.pipelines.etl.sources import pieces
from falconer.pipelines.etl.sources.files import Files
from falconer.pipelines.etl.split.lonely import refuse_lonely
from falconer.pipelines.etl.workers.tasks import Here
from tests.support import shop

LEFT = 400_000_000


@pytest.mark.parametrize("memory", [1, LEFT, LEFT + 1, 3 * LEFT, 3 * LEFT + 1])
def test_one_process_takes_buckets_of_half_of_what_is_left(memory: int) -> None:
    found = needs._parted(Needs(10_000, memory, 0, 0), BASE + LEFT, Here())
    assert found.n == (1 if memory <= LEFT else math.ceil(2 * memory / LEFT))
    rows = int(LEFT / 8 / max(memory / 10_000, 1))
    assert found.rows == min(max(rows, LEAST_ROWS), MOST_ROWS)
    assert found.size == LEFT // 16


@pytest.mark.parametrize(("n", "buckets"), [(3, LEAST_BUCKETS), (20, 20)])
def test_workers_have_a_bucket_each_and_enough_of_them(n: int, buckets: int) -> None:
    workers: Any = SimpleNamespace(n=n, n_on_a_machine=2)
    found = needs._parted(Needs(10, 10, 0, 0), BASE + 2 * (BASE + LEFT), workers)
    assert (found.n, found.size) == (buckets, LEFT // 16)
    larger = needs._parted(Needs(10, 30 * LEFT, 0, 0), BASE + 2 * (BASE + LEFT), workers)
    assert larger.n == 60


@pytest.mark.parametrize(
    ("missing", "key"), [("events", "source.events"), ("test", "source.parts.test")]
)
def test_files_of_a_part_are_asked_for_under_its_key(
    missing: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "there.csv").write_text("user,item\n1,2\n")
    paths = {"events": [str(tmp_path / "there.csv")], "test": [str(tmp_path / "there.csv")]}
    paths[missing] = []
    source = Files.model_validate(
        {
            "kind": "files",
            "events": paths["events"],
            "parts": {"test": paths["test"]},
            "columns": {"user": "user", "item": "item"},
        }
    )
    with pytest.raises(DataError, match=f"^{key} names no file"):
        source.part_paths()


def of_times(times: list[int], n: list[int]) -> Any:
    return SimpleNamespace(times=pl.DataFrame({"time": times, "n": n}))


@pytest.mark.parametrize(
    ("times", "n", "lonely"),
    [
        ([0, 10, 1000, 1090], [500, 500, 1, 2], True),
        ([0, 800, 1000, 1090], [500, 500, 1, 2], True),  # a gap as long as the fold
        ([0, 801, 1000, 1090], [500, 500, 1, 2], False),
        ([0, 10, 1000, 1090], [500, 490, 4, 6], False),  # one in a hundred
        ([0, 10, 1000, 1090], [500, 491, 4, 5], True),
        ([1000, 1090], [1, 1000], False),
        ([0, 10, 1200], [500, 500, 1], False),
    ],
)
def test_few_events_far_behind_all_others_are_no_test_fold(
    times: list[int], n: list[int], lonely: bool
) -> None:
    facts = of_times(times, n)
    if not lonely:
        refuse_lonely(facts, 900, 1100)
        return
    with pytest.raises(DataError) as raised:
        refuse_lonely(facts, 900, 1100)
    told = f"test would be {sum(n[2:]):,} of {sum(n):,} events, since the last ones are from "
    assert told in str(raised.value)
    assert "from 1970-01-01 00:16:40" in str(raised.value), "the first of them, at 1000 seconds"
    assert f"end on 1970-01-01 00:{times[1] // 60:02}:{times[1] % 60:02}" in str(raised.value)


def test_an_encoder_of_nothing_is_written_too(tmp_path: Path) -> None:
    Encoder({"event": {}, "user": {}, "item": {}}).save(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.json")]


def test_what_is_only_estimated_is_not_told_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "COUNTED", 4)
    frame = pl.DataFrame({"a": [1, 2, 3, None, None], "b": [1, 1, 2, 2, 3], "c": [1, 2, 3, 4, 5]})
    found = {one["name"]: one["unique"] for one in describe.describe(frame)}
    assert found == {"a": True, "b": False, "c": None}


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        ({"least": 2}, {"x below 2": [1]}),
        ({"most": 2}, {"x above 2": [3]}),
        (
            {"least": 2, "most": 2, "nulls": False},
            {"x is null": [], "x below 2": [1], "x above 2": [3]},
        ),
        ({"values": ["1", "3"]}, {"x is another value": [2]}),
    ],
)
def test_kept_values_hold_their_bounds(keep: dict[str, Any], gone: dict[str, list[int]]) -> None:
    column = pl.Series("x", [1, 2, 3, None])
    found = dict(_left_out(column, "x", Keep.model_validate(keep)))
    assert {
        name: column.filter(mask).drop_nulls().to_list() for name, mask in found.items()
    } == gone
    for name, mask in found.items():
        assert mask.to_list()[3] is (name == "x is null")


def test_newcomers_of_no_table_say_nothing_that_ids_do_not() -> None:
    none: Any = None
    features = NewcomerFeatures("user", pl.DataFrame({"key": ["a"]}), None, none, {}, {})
    asked = pl.Series(["a", "b"]), np.array([0, -1], np.int32)
    assert features.of(*asked) is None
    assert features.of_a_part(*asked) == (None, True)


def test_reasons_stand_by_frequency_and_then_by_name() -> None:
    rejected = pl.DataFrame({"reason": ["b", "a", "c", "c"]})
    assert list(contract._reasons(rejected).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_rows_are_numbered_on_from_piece_to_piece_and_from_file_to_file(tmp_path: Path) -> None:
    for name, n in (("a.csv", 5), ("b.csv", 3), ("c.csv", 4)):
        rows = "".join(f"u{row},i{row}\n" for row in range(n))
        (tmp_path / name).write_text(f"user,item\n{rows}")
    source = Files.model_validate(
        {
            "kind": "files",
            "events": str(tmp_path / "*.csv"),
            "columns": {"user": "user", "item": "item"},
        }
    )
    tasks = pieces.shared(source.event_paths())
    found = pieces.in_pieces(source, 2).of(share for task in tasks for share in task)
    numbers = [table.rows["ordinal"].to_list() for _, table in found]
    assert [number for part in numbers for number in part] == list(range(12))


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        ({"a": ["01", "03"], "b": ["02"]}, "a"),  # ends last
        ({"a": ["03"], "b": ["01", "03"]}, "b"),  # of those that end alike, with most days
        ({"a": ["01"], "b": ["01"]}, "b"),  # of equal ones the last by name
        ({"a": ["01"], "b": ["01", "09"]}, "a"),  # ends before the day that is asked for
    ],
)
def test_days_are_appended_to_the_dataset_that_ends_last(
    known: dict[str, list[str]], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [
        SimpleNamespace(
            days=dict.fromkeys([f"2024-01-{day}" for day in days]),
            data=SimpleNamespace(path=Path(name)),
        )
        for name, days in known.items()
    ]
    monkeypatch.setattr(append, "_appendable_datasets", lambda *_: held)
    monkeypatch.setattr(append, "_appendable", lambda recipe: recipe)
    monkeypatch.setattr(append, "_files_by_day", lambda source: {})
    monkeypatch.setattr(append, "at_hand", lambda recipe, *_: nullcontext(recipe))
    monkeypatch.setattr(append, "append", lambda recipe, path, out: path)
    recipe: Any = SimpleNamespace(name="shop")
    assert append.append_since(recipe, date(2024, 1, 5), tmp_path) == Path(chosen)


@pytest.mark.parametrize("least", [1, 2])
def test_a_minimum_count_of_a_feature_is_from_two_on(least: int, tmp_path: Path) -> None:
    features = {"event": {"store": {"kind": "categorical", "min_count": least}}}
    plain = shop.recipe_with(tmp_path, features)
    source = plain.source.model_copy(update={"partition": "date"})
    recipe = plain.model_copy(update={"source": source})
    if least == 1:
        assert append._appendable(recipe) == source
        return
    with pytest.raises(ConfigError, match=r"min_count.*store|store.*min_count"):
        append._appendable(recipe)
