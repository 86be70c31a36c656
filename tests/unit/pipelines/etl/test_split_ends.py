"""Folds that a wrong time or a wrong recipe would make, or make vanish."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split import Split, SplitConfig, split
from falconer.pipelines.etl.split.config import ByTime
from falconer.pipelines.etl.split.facts import Facts, facts_of, together
from falconer.pipelines.etl.split.lonely import refuse_lonely

DAY = 86_400
START = 1_700_006_400
ADAPTER: TypeAdapter[Any] = TypeAdapter(SplitConfig)


def events(*later: int, n: int = 1000) -> pl.DataFrame:
    """Four events an hour, then one at each of `later` days after the last of them."""
    times = [START + 900 * place for place in range(n)]
    times += [times[-1] + days * DAY for days in later]
    columns = {
        "ordinal": range(len(times)),
        "user": [place % 20 for place in range(len(times))],
        "item": [place % 30 for place in range(len(times))],
        "time": times,
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64))


def divided(table: pl.DataFrame, **values: Any) -> Split:
    return split(table, ADAPTER.validate_python(values))


LAST_DAYS = {
    "temporal": {"protocol": "temporal", "test_days": 2, "valid_days": 0},
    "rolling": {"protocol": "rolling", "days": 2, "valid_days": 0},
}


@pytest.mark.parametrize("name", LAST_DAYS)
@pytest.mark.parametrize("later", [(40,), (300, 301)], ids=["one", "two"])
def test_a_test_fold_that_wrong_times_made_is_refused(name: str, later: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"test would be {len(later)} of 1,00\d events.*latest"):
        divided(events(*later), **LAST_DAYS[name])


@pytest.mark.parametrize("name", LAST_DAYS)
def test_a_test_fold_of_the_last_days_is_not(name: str) -> None:
    assert divided(events(), **LAST_DAYS[name]).counts["test"] == 192
    assert divided(events(1), **LAST_DAYS[name]).counts["test"] == 97


def told(config: ByTime, facts: Facts) -> str:
    """What is said of the last two days."""
    assert facts.last is not None
    try:
        refuse_lonely(facts, facts.last + 1 - 2 * DAY, facts.last + 1)
    except DataError as error:
        return str(error)
    return "kept"


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), min_size=1, max_size=4),
    crowd=st.integers(0, 600),
)
@example(parts=[[0], [40], [3]], crowd=600)
@example(parts=[[40], [0], [0]], crowd=600)
@pytest.mark.parametrize("name", LAST_DAYS)
def test_what_counts_for_a_boundary_is_counted_in_parts(
    name: str, parts: list[list[int]], crowd: int
) -> None:
    """Of what is long before, the number and the latest time are enough, however it comes."""
    config = ADAPTER.validate_python(LAST_DAYS[name])
    times = [sorted(START + place * DAY // 4 for place in part) for part in [*parts, [1] * crowd]]
    tables = [pl.DataFrame({"time": one}, schema={"time": pl.Int64}) for one in times if one]
    found = together(config, [facts_of(config, table) for table in tables])
    counts = pl.concat(tables).group_by("time").len("n").sort("time")
    assert found.times is not None
    assert told(config, found) == told(config, Facts(found.last, counts))
    assert (found.times["time"] < found.last + 1 - 2 * DAY).sum() <= 1  # type: ignore[operator]
    assert found.times["n"].sum() == len(pl.concat(tables))


def test_a_boundary_that_is_stated_is_kept() -> None:
    stated = {"protocol": "temporal", "test_from": "2023-12-01", "valid_days": 0}
    assert divided(events(40), **stated).counts["test"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": "temporal", "test_days": 2.003, "valid_days": 1e-9}, "leaves valid without"),
        ({"protocol": "rolling", "days": 2.003, "valid_days": 1e-9}, "leaves valid without"),
        (
            {"protocol": "temporal", "test_days": 5, "valid_from": "2023-11-24"},
            r"split\.valid_from.*no validation fold is left.*test begins on 2023-11-20",
        ),
        ({"protocol": "random", "valid_share": 1e-9}, "leaves valid without"),
    ],
    ids=["temporal", "rolling", "stated", "random"],
)
def test_a_validation_fold_that_is_asked_for_does_not_vanish(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        divided(events(), **values)


def test_more_days_than_there_are_are_refused_in_words() -> None:
    with pytest.raises(DataError, match="leaves train and valid without events"):
        divided(events(), protocol="temporal", test_days=1e6, valid_days=1e6)
