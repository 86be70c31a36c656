from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.recsys.models.label_mean.config import LabelMeanConfig
from falconer.recsys.models.recipe import load_recipe
from tests.support import tiny
from tests.support.datasets import write_labels_dataset


def scores(data: Dataset, root: Path, **knobs: object) -> np.ndarray:
    run = tiny.train("label_mean", "numpy", data, root, LabelMeanConfig(**knobs))  # type: ignore[arg-type]
    return tiny.ranker_of(run, data).score_pairs(data.pairs("test"))


@pytest.mark.parametrize("shrinkage", [0.0, 5.0])
def test_an_items_score_is_its_smoothed_mean_label(
    shrinkage: float, clicks: Dataset, tmp_path: Path
) -> None:
    found, item = (
        scores(clicks, tmp_path, by="item", shrinkage=shrinkage),
        clicks.pairs("test").item,
    )
    label, train_item = clicks.train_column("label"), clicks.train_column("item")
    for number in (0, 7, 29):
        mine = label[train_item == number]
        expected = (mine.sum() + shrinkage * label.mean()) / (len(mine) + shrinkage)
        assert found[item == number] == pytest.approx(expected, abs=1e-6)
    assert found[item < 0] == pytest.approx(label.mean(), abs=1e-6)


@pytest.mark.parametrize("by", ["user", "item", "segment", "category", "device"])
def test_rows_of_one_kind_have_one_score(by: str, clicks: Dataset, tmp_path: Path) -> None:
    pairs = clicks.pairs("test")
    category = clicks.items.column("category").to_numpy()
    kinds = {
        "user": pairs.queries.user,
        "item": pairs.item,
        "category": np.where(pairs.item >= 0, category[pairs.item], -1),
        **pairs.queries.features,
    }
    found = scores(clicks, tmp_path, by=by)
    of_kind = {kind: set(found[kinds[by] == kind]) for kind in np.unique(kinds[by])}
    assert all(len(values) == 1 for values in of_kind.values())
    assert len(set.union(*of_kind.values())) > len(of_kind) / 2, (
        "kinds differ, but for a few that happen to agree"
    )


def test_one_mean_for_all_rows(clicks: Dataset, tmp_path: Path) -> None:
    assert set(scores(clicks, tmp_path, by="none")) == {
        np.float32(clicks.train_column("label").mean())
    }


def test_a_kind_that_the_dataset_lacks_is_named_with_the_nearest_one(
    clicks: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=r"has no 'devise' to take for model\.by; did you mean 'device'"
    ):
        scores(clicks, tmp_path, by="devise")
    with pytest.raises(DataError, match="has no 'hour'"):
        scores(clicks, tmp_path, by="hour")
    rows = write_labels_dataset(tmp_path / "rows", n_rows=300, entities=False)
    with pytest.raises(
        DataError, match=r"has no 'item' .* there are none, segment, category, device"
    ):
        scores(rows, tmp_path, by="item")


def test_shrinkage_has_bounds() -> None:
    with pytest.raises(ConfigError, match="shrinkage"):
        load_recipe("label_mean", ["model.shrinkage=-1"])


def test_a_dataset_whose_categories_mean_something_else_is_refused(
    clicks: Dataset, tmp_path: Path
) -> None:
    def of_lineage(*lineage: str) -> Dataset:
        features = tuple(
            feature.model_copy(update={"lineage": lineage}) for feature in clicks.card.features
        )
        return Dataset(clicks.path, clicks.card.model_copy(update={"features": features}))

    first, later = of_lineage("first"), of_lineage("first", "second")
    run = tiny.train("label_mean", "numpy", first, tmp_path, LabelMeanConfig(by="device"))
    assert len(tiny.ranker_of(run, later).score_pairs(later.pairs("test"))) == len(
        later.pairs("test")
    )
    with pytest.raises(ArtifactError, match="device is encoded otherwise"):
        tiny.ranker_of(run, of_lineage("another"))
