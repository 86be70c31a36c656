"""A dataset that extends another one keeps what its ids and encodings mean."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.etl.build import build
from tests.support import shop
from tests.support.features import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dataset_that_extends_another_keeps_ids_categories_and_scales(
    data: Dataset, tmp_path: Path, engine: str
) -> None:
    later = pl.concat(
        [
            shop.events(),
            shop.events(300, n_users=40, n_items=60, seed=2).with_columns(store=pl.lit("new")),
        ]
    )
    folder = shop.write(tmp_path / "later", later)
    child = Dataset.open(
        build(shop.recipe(folder, engine=engine, extends=str(data.path)), tmp_path / "out")
    )
    assert child.card.id_space.descends_from(data.card.id_space)
    assert child.card.id_space != data.card.id_space
    assert any(data.card.dataset_id in note for note in child.card.notes)
    for kind in ("user", "item"):
        old, new = (pl.DataFrame(d.table(f"vocab/{kind}.parquet")) for d in (data, child))
        assert len(new) > len(old)
        assert new[: len(old)].equals(old)
    stores = [
        pl.DataFrame(d.table("encoder/vocab-store.parquet"))["value"].to_list()
        for d in (data, child)
    ]
    assert stores[1] == [*stores[0], "new"]
    moments = [
        json.loads((d.path / "encoder/encoder.json").read_text())["event"]["price"]
        for d in (data, child)
    ]
    assert moments[0] == moments[1]
    old_features, new_features = ({f.name: f for f in d.card.features} for d in (data, child))
    for name, feature in new_features.items():
        assert feature.descends_from(old_features[name].lineage)
    assert [len(features["store"].lineage) for features in (old_features, new_features)] == [1, 2]
    assert new_features["price"].lineage == old_features["price"].lineage


def test_other_settings_of_a_feature_are_another_lineage(tables: Path, tmp_path: Path) -> None:
    recipe = shop.recipe(tables)
    settings = recipe.features.model_dump()
    settings["event"]["store"]["min_count"] = 50
    changed = recipe.model_copy(update={"features": recipe.features.model_validate(settings)})
    first, second = (Dataset.open(build(one, tmp_path / "out")).card for one in (recipe, changed))
    assert first.id_space == second.id_space
    assert [
        a.name
        for a, b in zip(first.features, second.features, strict=True)
        if a.lineage != b.lineage
    ] == ["store"]


def test_extending_what_is_no_dataset_is_refused(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a dataset directory"):
        build(shop.recipe(tables, extends=str(tmp_path)), tmp_path / "out")


def test_a_table_of_new_items_only_keeps_what_was_known_of_the_others(
    data: Dataset, tmp_path: Path
) -> None:
    folder = shop.write(tmp_path / "later", shop.events(300, n_users=40, n_items=60, seed=2))
    pl.DataFrame(
        {"sku": ["i1", "i55"], "name": ["One", "New"], "department": ["d9", "d9"]}
    ).write_parquet(folder / "items.parquet")
    child = Dataset.open(build(shop.recipe(folder, extends=str(data.path)), tmp_path / "out"))
    old, new = (pl.DataFrame(one.items) for one in (data, child))
    known = old.filter(pl.col("key") != "i1")
    assert new.filter(pl.col("key").is_in(known["key"].implode())).equals(known)
    values = child.table("encoder/vocab-department.parquet")["value"].to_pylist()
    first = new.filter(pl.col("key") == "i1").row(0, named=True)
    assert (first["label"], values[first["department"]]) == ("One", "d9")


def test_a_day_whose_ids_are_digits_extends_text(tmp_path: Path) -> None:
    days = []
    for day, users in (("one", ["A1", "2", "3"]), ("two", ["2", "3", "4"])):
        rows = [f"{users[n % 3]},{n % 4},{shop.START + n}" for n in range(24)]
        (tmp_path / f"{day}.csv").write_text("u,i,t\n" + "\n".join(rows) + "\n")
        source = {
            "kind": "files",
            "events": str(tmp_path / f"{day}.csv"),
            "columns": {"user": "u", "item": "i", "time": "t"},
        }
        parent = {"extends": str(days[-1].path)} if days else {}
        recipe = shop.recipe(
            tmp_path, source=source, features={"engine": "polars"}, split="leave_last", **parent
        )
        days.append(Dataset.open(build(recipe, tmp_path / "out")))
    assert days[1].card.id_space.descends_from(days[0].card.id_space)
    assert days[1].users["key"].to_pylist()[3:] == ["4"]


def test_whole_numbers_that_a_null_made_floats_are_the_same_categories(tmp_path: Path) -> None:
    made = []
    for day in ("one", "two"):
        events = shop.events().with_columns(store=pl.int_range(pl.len()) % 5)
        if made:
            some = pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.col("store").cast(pl.Float64))
            events = events.with_columns(store=some)
        parent = {"extends": str(made[-1].path)} if made else {}
        folder = shop.write(tmp_path / day, events)
        made.append(Dataset.open(build(shop.recipe(folder, **parent), tmp_path / "out")))
    values = [one.table("encoder/vocab-store.parquet")["value"].to_pylist() for one in made]
    assert values[0] == values[1]
    assert (made[1].train_column("store") >= 0).mean() > 0.8


def test_another_view_to_select_on_is_said(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shop repeats itself; a day of new pairs only does not, and models would be chosen by
    another figure than yesterday's."""
    first = build(shop.recipe(tables), tmp_path)
    assert "models are selected on all\n" in capsys.readouterr().out
    same = Dataset.open(build(shop.recipe(tables, extends=str(first)), tmp_path))
    assert not [note for note in same.card.notes if "selected" in note]
    rows = [
        (user, f"i{item}", shop.START + 9_000 * (30 * user + item))
        for user in range(20)
        for item in range(30)
    ]
    once = pl.DataFrame(rows, schema=["customer", "sku", "at"], orient="row").with_columns(
        price=1.0, store=pl.lit("s1"), discount=0.7
    )
    day = shop.write(tmp_path / "day", once)
    capsys.readouterr()
    later = Dataset.open(build(shop.recipe(day, extends=str(first)), tmp_path))
    assert "note: Models are selected on view novel here, and on all in" in capsys.readouterr().out
    assert [note for note in later.card.notes if 'split.views = ["all"]' in note]
