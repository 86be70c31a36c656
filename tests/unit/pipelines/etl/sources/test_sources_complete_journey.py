"""The Complete Journey against what is published of it."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from falconer.pipelines.errors import DataError, MissingExtraError
from falconer.pipelines.etl.clean import CleanConfig, clean
from falconer.pipelines.etl.contract import ContractConfig, check
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources import CompleteJourney, Source
from falconer.pipelines.etl.sources import complete_journey as module
from tests.support.features import named


@pytest.fixture(scope="module")
def raw() -> Raw:
    result = check(
        CompleteJourney(kind="complete_journey").read(), ContractConfig(max_rejected_share=0.0)
    )
    assert result.rejected == {}
    assert result.counts == {
        "rows_read": 1_469_307,
        "users_read": 801,
        "items_read": 92_331,
        "events without a row in users": 640_457,
        "events without a row in items": 4_836,
    }
    return result.raw


def test_it_has_its_published_size(raw: Raw) -> None:
    assert raw.events["user"].n_unique() == 2_469
    assert raw.events["item"].n_unique() == 68_509
    assert raw.items is not None
    assert raw.items["item"].n_unique() == 92_331
    unlisted = raw.events.join(raw.items, on="item", how="anti")
    assert (unlisted.height, unlisted["item"].n_unique()) == (4_836, 17)


def test_events_have_canonical_columns_and_utc_times(raw: Raw) -> None:
    assert named(raw.events).schema == {
        **dict.fromkeys(("ordinal", "user", "item", "time"), pl.Int64),
        **dict.fromkeys(("weight", "sales_value", "retail_disc", "coupon_disc"), pl.Float64),
        **dict.fromkeys(("store_id", "week"), pl.Int64),
    }
    assert raw.events.row(0)[:5] == (0, 900, 1095275, 1483271606, 1.0)  # 2017-01-01 11:53:26 UTC
    assert raw.events["weight"].max() == 89_638
    assert raw.events["ordinal"].equals(pl.Series("ordinal", range(1_469_307)))


def test_cleaning_drops_the_rows_without_a_quantity(raw: Raw) -> None:
    events, counts = clean(raw.events, CleanConfig(min_weight=1))
    assert counts == {"dropped: weight below 1": 8_869, "duplicate events kept": 5}
    assert events.height == 1_460_438


def test_every_product_has_a_name_that_people_read(raw: Raw) -> None:
    assert raw.items is not None
    labels = dict(raw.items.select("item", "label").iter_rows())
    assert labels[25671] == "Ice - crushed/cubed, 22 lb"
    assert labels[26081] == "Miscellaneous"
    assert labels[26093] == "Bread:italian/french (private brand)"
    assert raw.items["label"].null_count() == 0


def test_a_package_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(module, "find_spec", nothing)
    with pytest.raises(MissingExtraError, match=r"falconer\[demo\]"):
        CompleteJourney(kind="complete_journey").files()


def test_a_package_without_its_tables_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = ModuleSpec("empty", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(module, "find_spec", lambda _: spec)
    with pytest.raises(DataError, match=r"data/transactions\.parquet"):
        CompleteJourney(kind="complete_journey").files()


def test_a_recipe_tells_sources_apart_by_kind() -> None:
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    assert isinstance(adapter.validate_python({"kind": "complete_journey"}), CompleteJourney)
    known = "'complete_journey', 'movielens', 'adult', 'criteo', 'criteo_synthetic', 'files'"
    with pytest.raises(ValidationError, match=known):
        adapter.validate_python({"kind": "file"})
