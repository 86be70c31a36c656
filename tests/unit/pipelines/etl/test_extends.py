"""A dataset that extends another one keeps what its ids and encodings mean."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.engines import MODULES
from tests.support import shop


@pytest.mark.parametrize("engine", MODULES)
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
