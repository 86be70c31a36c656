"""Pictured items become a table that the recommender's ETL reads, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.build import build
from falconer.vision.stages.items import column_names, items, principal_components
from falconer.vision.stages.train import train
from tests.support import shop
from tests.support.pictures import COLOURS, SMALL, colour_folder, picture


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vision")
    colour_folder(place / "photos", n=15)
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    overrides = [*SMALL, "training.epochs=6", "first_look=false"]
    return train(
        "small-pictures",
        str(place / "photos"),
        place / "runs",
        overrides=overrides,
        pictures=place / "pictures",
    )


def test_the_recommenders_etl_reads_what_pictures_say_of_items(run: Path, place: Path) -> None:
    films = place / "films"
    colours = [*COLOURS.values()]
    for number in range(1, 21):
        (films / f"i{number}").mkdir(parents=True)
        for frame in range(2):
            picture(colours[number % 3], 7 * number + frame).save(
                films / f"i{number}" / f"{frame}.png"
            )
    (films / "i21").mkdir()
    (films / "i21" / "bad.png").write_text("no picture")
    out = items(run, films, place / "items.parquet", dimensions=2)
    table = pl.read_parquet(out)
    assert table.columns == [
        "item", "answer", "tags", "p_blue", "p_green", "p_red", "embedding_0", "embedding_1",
    ]  # fmt: skip
    assert table.height == 20
    names = [*COLOURS]
    right = [
        row["answer"] == names[int(row["item"][1:]) % 3] for row in table.iter_rows(named=True)
    ]
    assert np.mean(right) > 0.6
    recipe = shop.recipe(shop.write(place / "shop", shop.events()))
    described = {
        "path": str(out),
        "key": "item",
        "label": "answer",
        "features": ["answer", "p_red", "embedding_0"],
    }
    source = recipe.source.model_dump(mode="json") | {"items": described}
    features = {
        "engine": "polars",
        "item": {
            "answer": {"kind": "categorical"},
            "p_red": {"kind": "continuous"},
            "embedding_0": {"kind": "continuous"},
        },
    }
    path = build_from(place / "shop", source=source, features=features)
    encoded = pl.read_parquet(path / "items.parquet")
    assert {"answer", "p_red", "embedding_0"} <= set(encoded.columns)


def build_from(folder: Path, **changes: object) -> Path:
    recipe = shop.recipe(folder, **changes)
    return Path(build(recipe, folder / "data"))


def test_no_usable_item_is_an_error(run: Path, tmp_path: Path) -> None:
    (tmp_path / "i1.png").touch()
    with pytest.raises(DataError, match="no item with a usable picture"):
        items(run, tmp_path, tmp_path / "items.parquet")
    with pytest.raises(DataError, match="no such folder of items"):
        items(run, tmp_path / "nowhere", tmp_path / "items.parquet")


def test_columns_have_names_of_their_own() -> None:
    assert column_names(["T-shirt/top", "Bag"]) == ["p_T_shirt_top", "p_Bag"]
    with pytest.raises(ConfigError, match="several classes would have the column p_a_b"):
        column_names(["a b", "a-b"])


def test_components_hold_the_distances_of_what_lies_in_a_plane() -> None:
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 9))
    found = principal_components(plane.astype(np.float32), 2)
    assert found.shape == (30, 2)
    wanted = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    assert np.allclose(np.linalg.norm(found[:, None] - found[None], axis=2), wanted, atol=1e-4)
    assert found.var(axis=0)[0] >= found.var(axis=0)[1]
