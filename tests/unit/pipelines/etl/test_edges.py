"""Edges of the ETL's small rules, each with a value worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl import describe, profile
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.columns import form_of, identifiers, look_alikes
from falconer.pipelines.etl.contract import Checked
from falconer.pipelines.etl.held import LATE, Held
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sizes import bytes_of
from falconer.pipelines.etl.sources.criteo_synthetic import best_log_loss, power_law
from falconer.pipelines.etl.split import split
from falconer.pipelines.etl.split.config import GivenCandidates, HeldOutUsers
from falconer.pipelines.etl.split.facts import numbers_of
from falconer.pipelines.etl.times import ISO_FORMATS, _finer_units, _instants, _parsed
from tests.support import shop
from tests.support.splits import frame

SIZES = {"7B": 7, "3 KB": 3000, "2.5MB": 2_500_000, "1gb": 10**9, " 2TB ": 2 * 10**12, "0B": 0}


@pytest.mark.parametrize("text", SIZES)
def test_each_unit_of_a_size_is_read(text: str) -> None:
    assert bytes_of(text) == SIZES[text]


@pytest.mark.parametrize("text", ["5", "GB", "4PB", "-1GB", "1.GB", "4  GB", "4GB more"])
def test_a_size_without_number_or_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a size like '4GB'"):
        bytes_of(text)


def test_values_beyond_the_counted_ones_are_one_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MOST_VALUES", 2)
    values = pl.Series(["a", "b", "b", "c", "c", "c", None])
    assert profile._counted(values) == {"c": 3, "b": 2, profile.REST: 2}
    assert profile._counted(values[1:6]) == {"c": 3, "b": 2}
    # equally frequent ones stand in the order of their text
    assert list(profile._counted(pl.Series(["z", "y"]))) == ["y", "z"]


def test_numbers_are_binned_by_sign_and_power_of_two() -> None:
    found = profile._powers(pl.Series([0.0, 1.0, 1.9, 2.0, 0.5, -3.0, -0.25, None]))
    assert found.to_list() == ["0", "+0", "+0", "+1", "+-1", "-1", "--2", None]


@pytest.mark.parametrize(
    ("dtype", "largest"), [(pl.Float32, 2**24), (pl.Float64, 2**53)], ids=["32 bits", "64 bits"]
)
def test_float_ids_are_exact_up_to_their_own_bound(dtype: Any, largest: int) -> None:
    column = identifiers(pl.Series("user", [float(largest), float(largest + 2), 1.5], dtype))
    assert column.values[0] == largest
    wrong = {fault.reason: fault.mask.to_list() for fault in column.faults}
    bits = {2**24: 32, 2**53: 64}[largest]
    assert wrong[f"user is too large to be exact in {bits} bits"] == [False, True, False]
    assert wrong["user is not a whole number"] == [False, False, True]


def test_texts_that_look_alike_are_found_with_their_form() -> None:
    values = pl.Series(["007", "7", "7.0", " 7 ", "8", "0", "00", None, "x7"])
    assert form_of(values).to_list() == ["7", "7", "7", "7", "8", "0", "0", None, "x7"]
    assert look_alikes(values).rows() == [
        ("0", "0"), ("0", "00"), ("7", " 7 "), ("7", "007"), ("7", "7"), ("7", "7.0"),
    ]  # fmt: skip


def held(events: pl.DataFrame, rows_read: int, train_until: int) -> Held:
    return Held(SimpleNamespace(path=Path("d")), events, {}, train_until, rows_read)  # type: ignore[arg-type]


def test_rows_of_new_events_are_numbered_on_and_those_of_other_tables_are_not() -> None:
    events = pl.DataFrame({"user": [1], "item": [5], "time": [100], "ordinal": [7]})
    new = events.with_columns(time=pl.lit(101, pl.Int64), ordinal=pl.lit(0, pl.Int64))
    late = events.with_columns(time=pl.lit(90, pl.Int64), ordinal=pl.lit(1, pl.Int64))
    rows = pl.DataFrame({"row": [0, 3]})
    checked = Checked(Raw(events=pl.concat([new, late])), {"events": rows, "items": rows}, {"n": 2})
    found = held(events, 10, 90).followed_by(checked, 0.5)
    assert found.raw.events["ordinal"].to_list() == [7, 10]
    assert found.rejected["events"]["row"].to_list() == [10, 13]
    assert found.rejected["items"]["row"].to_list() == [0, 3]
    assert found.counts == {"n": 2, LATE: 1, "held_over_events": 1}
    with pytest.raises(DataError, match="1 of 2 new events are late"):
        held(events, 10, 90).followed_by(checked, 0.49)


def test_one_time_with_nanoseconds_among_others_keeps_its_fraction() -> None:
    texts = ["2024-01-01 00:00:00.5", "2024-01-01 00:00:00.123456789", "2024-01-01 00:00:01"]
    found = _parsed(pl.Series("time", texts), ISO_FORMATS[0])
    start = 1_704_067_200
    assert found.seconds.to_list() == [start, start, start + 1]
    fractions = found.fraction.to_list()
    assert fractions[1] == 123_456_789
    assert fractions[0] in (500_000_000, 500_000)
    assert fractions[2] == 0


@pytest.mark.parametrize(
    ("values", "unit", "instants"),
    [
        ([20240131, 19691231], "%Y%m%d", [(1_706_659_200, 0), (-86_400, 0)]),
        ([1.5, -0.5], "s", [(1, 500_000_000), (-1, 500_000_000)]),
        ([1500, -500], "ms", [(1, 500_000_000), (-1, 500_000_000)]),
        ([2_000_001, 3], "us", [(2, 1000), (0, 3000)]),
    ],
    ids=["a form of digits", "floats", "milliseconds", "microseconds"],
)
def test_numbers_are_instants_in_their_unit_or_form(
    values: list[float], unit: str, instants: list[tuple[int, int]]
) -> None:
    found = _instants(pl.Series("time", values), unit)
    pairs = zip(found.seconds.to_list(), found.fraction.to_list(), strict=True)
    assert list(pairs) == instants


def test_numbers_too_large_for_their_unit_are_told_and_those_of_a_form_never_are() -> None:
    milliseconds = pl.Series("time", [1_700_000_000_000])
    found = {
        fault.reason: fault.mask.to_list()
        for fault in _finer_units(milliseconds, milliseconds, "s")
    }
    assert [reason for reason, mask in found.items() if any(mask)] == [
        "time looks like milliseconds"
    ]
    assert list(_finer_units(milliseconds, milliseconds, "%Y%m%d")) == []


def test_candidates_that_name_one_of_several_users_twice_are_refused() -> None:
    events = frame([(0, 1, 1), (0, 2, 2), (1, 1, 1), (1, 2, 2), (2, 3, 3)])
    named = {"user": [0, 1, 1], "item": [2, 1, 2], "candidates": [[2, 9], [1, 9], [2, 9]]}
    config = GivenCandidates(protocol="given_candidates", valid_last=False)
    with pytest.raises(DataError, match="name a user more than once"):
        split(events, config, pl.DataFrame(named))
    once = pl.DataFrame({name: column[:2] for name, column in named.items()})
    assert split(events, config, once)


@pytest.mark.parametrize(
    ("share", "n_users", "held_out"), [(0.01, 10, 1), (0.25, 10, 2), (0.26, 10, 3), (0.5, 1, 1)]
)
def test_a_share_of_the_users_is_rounded_and_never_nobody(
    share: float, n_users: int, held_out: int
) -> None:
    config = HeldOutUsers(protocol="held_out_users", test_users_share=share, valid_users_share=0.0)
    assert numbers_of(config, n_users) == (held_out, 0)


def test_the_number_of_values_follows_from_the_largest_of_the_smallest_hashes() -> None:
    """Where the n smallest of evenly spread hashes reach half of all, 2 (n - 1) are there."""
    hashes = np.array([1, 5, 2**63], np.uint64)
    assert describe._estimate(hashes) == 2 * (describe.COUNTED - 1)


def test_what_is_no_finite_number_is_described_as_none() -> None:
    events = pl.DataFrame({"a": [1.0, math.inf], "b": [2.0, 4.0], "c": [None, 7]})
    found = [[one[fact] for fact in ("least", "mean", "most")] for one in describe.describe(events)]
    assert found == [[1.0, None, None], [2.0, 3.0, 4.0], [7, 7.0, 7]]


def test_drawn_ranks_stay_within_their_column() -> None:
    sizes = np.array([1, 2, 1000])
    chance = np.array([[0.0] * 3, [np.nextafter(1, 0)] * 3])
    assert power_law(chance, sizes).tolist() == [[0, 0, 0], [0, 1, 999]]
    beyond = power_law(np.full((1, 3), 1.0), sizes)
    assert (beyond < sizes).all()
    assert (beyond >= 0).all()


def test_a_certain_label_costs_nothing_and_is_a_number() -> None:
    assert best_log_loss(np.array([0.0, 1.0])) == pytest.approx(0, abs=1e-12)
    assert best_log_loss(np.array([0.5])) == pytest.approx(np.log(2))


def test_every_step_says_its_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = shop.write(tmp_path / "tables", shop.events())
    build(shop.recipe(tables), tmp_path / "out")
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:1].isalpha()]
    steps = ["needs", "read", "check", "clean", "split", "encode"]
    assert [name for name in said if name in steps] == steps


@pytest.mark.parametrize("limit", [None, "300.1MB"], ids=["in memory", "in buckets"])
def test_files_without_a_header_are_built_as_those_with_one(
    limit: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"u{n % 9}", f"i{n * 7 % 11}", 1_700_000_000 + 60 * n) for n in range(400)]
    lines = ["::".join(map(str, row)) for row in rows] + ["u1::i1"]
    (tmp_path / "bare.dat").write_text("\n".join(lines) + "\n")
    (tmp_path / "headed.csv").write_text(
        "\n".join(["user,item,time", *(line.replace("::", ",") for line in lines)]) + "\n"
    )
    bare = {"columns": {"user": "1", "item": "2", "time": "3"}, "header": False, "separator": "::"}
    headed = {"columns": {"user": "user", "item": "item", "time": "time"}}
    found = []
    for name, source in (("bare.dat", bare), ("headed.csv", headed)):
        given = {"kind": "files", "events": str(tmp_path / name), "time_unit": "s", **source}
        contract = {"max_rejected_share": 0.01}
        recipe = shop.recipe(
            tmp_path, source=given, split="leave_last", features={"engine": "polars"},
            contract=contract, **({"memory_limit": limit} if limit else {}),
        )  # fmt: skip
        found.append(Dataset.open(build(recipe, tmp_path / f"{name}-out")))
    assert ("buckets" in capsys.readouterr().out) == (limit is not None)
    one, other = found
    assert one.train.num_rows == 382
    assert one.train.equals(other.train)
    assert one.items["key"].to_pylist() == other.items["key"].to_pylist()
    for data in found:
        rejected = [n for name, n in data.card.counts.items() if "fields where" in name]
        assert sum(rejected) == 1, data.card.counts
