"""Somebody's own train, validation and test files, from a recipe to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.split import Part, split
from tests.support import shop
from tests.support.features import ENGINES

CANONICAL = {"customer": "user", "sku": "item", "at": "time"}


def write_parts(folder: Path, protocol: str) -> dict[str, str]:
    """The shop's events in a file for each part that a protocol gives them: name -> path."""
    shop.write(folder, shop.events())
    events = shop.events().with_row_index("ordinal")
    ordered = split(
        events.rename(CANONICAL).cast({"ordinal": pl.Int64}),
        shop.recipe(folder, split=protocol).split,
    ).events.select("ordinal", "part")
    named = {}
    for part in Part:
        rows = events.join(ordered.filter(pl.col("part") == part), on="ordinal")
        if len(rows):
            path = folder / f"{part.name.lower()}.parquet"
            rows.sort("ordinal").drop("ordinal", "part").write_parquet(path)
            named[part.name.lower()] = str(path)
    return named


def given_recipe(
    folder: Path, named: dict[str, str], *, engine: str = "polars", **changes: Any
) -> EtlRecipe:
    source = shop.recipe(folder).model_dump(mode="json")["source"]
    source |= {"events": named["train"]}
    source["parts"] = {part: path for part, path in named.items() if part != "train"}
    split_keys = {"protocol": "given", **changes.pop("split", {})}
    return shop.recipe(folder, engine=engine, source=source, split=split_keys, **changes)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", ["leave_last", "held_out_users"])
def test_given_parts_make_the_dataset_of_the_protocol_that_made_them(
    tmp_path: Path, protocol: str, engine: str
) -> None:
    named = write_parts(tmp_path, protocol)
    given = Dataset.open(build(given_recipe(tmp_path, named, engine=engine), tmp_path / "given"))
    drawn = Dataset.open(
        build(shop.recipe(tmp_path, split=protocol, engine=engine), tmp_path / "drawn")
    )
    assert given.users.equals(drawn.users)
    assert given.items.equals(drawn.items)
    for name in ("user", "item", "time", "price", "store"):
        ours, theirs = (data.train_column(name) for data in (given, drawn))
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), name
    for fold in ("valid", "test"):
        ours, theirs = given.queries(fold), drawn.queries(fold)
        assert ours.user.tolist() == theirs.user.tolist()
        assert ours.history.values.tolist() == theirs.history.values.tolist()
        assert ours.history.offsets.tolist() == theirs.history.offsets.tolist()
        truths = [data.truth(fold) for data in (given, drawn)]
        assert truths[0].items.values.tolist() == truths[1].items.values.tolist()
        assert truths[0].n_outside.tolist() == truths[1].n_outside.tolist()


def test_the_files_of_two_parts_exchanged_are_another_dataset(tmp_path: Path) -> None:
    named = write_parts(tmp_path, "held_out_users")
    exchanged = named | {"test_history": named["test"], "test": named["test_history"]}
    paths = [build(given_recipe(tmp_path, one), tmp_path / "out") for one in (named, exchanged)]
    assert paths[0] != paths[1]
    without = {part: path for part, path in named.items() if part != "test_history"}
    assert build(given_recipe(tmp_path, without), tmp_path / "out") not in paths


def test_the_folder_does_not_count(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        named = write_parts(tmp_path / folder, "leave_last")
        names.append(build(given_recipe(tmp_path / folder, named), tmp_path / "out").name)
    assert names[0] == names[1]


def test_an_answer_in_train_is_refused_by_name(tmp_path: Path) -> None:
    named = write_parts(tmp_path, "leave_last")
    train, test = (pl.read_parquet(named[part]) for part in ("train", "test"))
    pl.concat([train, test.head(1)]).write_parquet(named["train"])
    with pytest.raises(DataError, match="1 events of test or validation are in another part too"):
        build(given_recipe(tmp_path, named), tmp_path / "out")
    kept = given_recipe(tmp_path, named, split={"shared_events": "keep"})
    assert build(kept, tmp_path / "out").is_dir()


def test_a_file_of_two_parts_is_refused(tmp_path: Path) -> None:
    named = write_parts(tmp_path, "leave_last")
    with pytest.raises(DataError, match=r"is named as train and valid"):
        build(given_recipe(tmp_path, named | {"valid": named["train"]}), tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "protocol", "message"),
    [
        ({"parts": None}, "given", "needs files of your own"),
        ({}, "leave_last", "set split.protocol"),
        ({"parts": {"test": "t.csv", "valid_history": "h.csv"}}, "given", "needs a valid"),
        ({"partition": "date"}, "given", "do not go together"),
    ],
    ids=["no parts", "another protocol", "history of nothing", "days"],
)
def test_recipes_that_mean_nothing_are_refused(
    tmp_path: Path, source: dict[str, Any], protocol: str, message: str
) -> None:
    values = {
        "kind": "files",
        "events": "train.csv",
        "parts": {"valid": "v.csv", "test": "t.csv"},
        "columns": {"user": "customer", "item": "sku", "time": "at"},
    }
    with pytest.raises(ConfigError, match=message):
        shop.recipe(tmp_path, source=values | source, split={"protocol": protocol}, features={})


def test_labels_are_given_in_files_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for part, rows in (("train", 80), ("valid", 20), ("test", 30)):
        clicked, hour = rng.integers(0, 2, rows), rng.integers(0, 24, rows)
        table = pl.DataFrame({"clicked": clicked, "hour": hour.astype(str)})
        table.write_csv(tmp_path / f"{part}.csv")
    values = {
        "name": "clicks",
        "task": "labels",
        "target": {"kind": "binary", "column": "label"},
        "source": {
            "kind": "files",
            "events": str(tmp_path / "train.csv"),
            "parts": {part: str(tmp_path / f"{part}.csv") for part in ("valid", "test")},
            "columns": {"label": "clicked"},
        },
        "split": {"protocol": "given"},
        "features": {"engine": "polars", "event": {"hour": {"kind": "categorical"}}},
    }
    data = Dataset.open(build(EtlRecipe.model_validate(values), tmp_path / "out"))
    assert data.train.num_rows == 80
    assert [len(data.labels(fold)) for fold in ("valid", "test")] == [20, 30]
