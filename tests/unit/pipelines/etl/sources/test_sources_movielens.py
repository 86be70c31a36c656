"""MovieLens against what is published of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.contract import ContractConfig, check
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.archive import CACHE, MIRROR
from falconer.pipelines.etl.sources.movielens import MovieLens


def source(mirror: Path, **values: object) -> MovieLens:
    return MovieLens.model_validate({"kind": "movielens", "path": str(mirror), **values})


def sound(raw: Raw) -> Raw:
    result = check(raw, ContractConfig(max_rejected_share=0.0))
    assert result.rejected == {}
    return result.raw


@pytest.fixture(scope="module")
def one_million(data_mirror: Path) -> Raw:
    return sound(source(data_mirror, ncf_candidates=True).read())


def test_1m_has_its_published_size(one_million: Raw) -> None:
    events, users, items = one_million.events, one_million.users, one_million.items
    assert users is not None
    assert items is not None
    assert events.height == 1_000_209
    assert events["user"].n_unique() == users.height == 6_040
    assert events["item"].n_unique() == 3_706
    assert items.height == 3_883
    assert events.columns == ["ordinal", "user", "item", "rating", "time"]
    assert events.row(0) == (0, 1, 1193, 5.0, 978300760)
    histogram = dict(events["rating"].value_counts().iter_rows())
    assert histogram == {1: 56_174, 2: 107_557, 3: 261_197, 4: 348_971, 5: 226_310}


def test_1m_titles_genres_and_users_are_readable(one_million: Raw) -> None:
    assert one_million.items is not None
    assert one_million.users is not None
    film = one_million.items.filter(pl.col("item") == 1).row(0, named=True)
    assert film == {
        "item": 1,
        "label": "Toy Story (1995)",
        "feature:genre": "Animation",
        "feature:genres": "Animation|Children's|Comedy",
        "feature:year": 1995,
    }
    assert "City of Lost Children, The (1995)" in one_million.items["label"]
    assert "Misérables, Les (1995)" in one_million.items["label"]
    assert one_million.users.row(3) == (4, "M", 45, 7, "02460")


def test_ncf_candidates_are_the_published_ones_in_original_ids(one_million: Raw) -> None:
    """The held-out film must be one of the user's latest, or else the mapping of ids is wrong."""
    candidates = one_million.candidates
    assert candidates is not None
    assert candidates["user"].to_list() == list(range(1, 6_041))
    assert set(candidates["candidates"].list.len()) == {99, 100}
    assert (candidates["candidates"].list.len() == 99).sum() == 156
    lists = candidates["candidates"].to_list()
    assert all(row == sorted(set(row)) for row in lists)
    assert all(item in row for item, row in zip(candidates["item"], lists, strict=True))
    latest = one_million.events.filter(pl.col("time") == pl.col("time").max().over("user"))
    assert candidates.join(latest, on=["user", "item"], how="semi").height == 6_040


def test_ncf_negatives_were_never_rated_by_their_user(one_million: Raw) -> None:
    assert one_million.candidates is not None
    pairs = one_million.candidates.explode("candidates").filter(
        pl.col("candidates") != pl.col("item")
    )
    pairs = pairs.select("user", item="candidates")
    assert pairs.join(one_million.events, on=["user", "item"], how="semi").height == 0


def test_100k_has_its_published_size(data_mirror: Path) -> None:
    raw = sound(source(data_mirror, variant="100k").read())
    assert raw.users is not None
    assert raw.items is not None
    assert (raw.events.height, raw.users.height, raw.items.height) == (100_000, 943, 1_682)
    assert raw.events.row(0) == (0, 196, 242, 3.0, 881250949)
    assert raw.users.row(0) == (1, 24, "M", "technician", "85711")
    assert raw.items.row(0) == (
        1,
        "Toy Story (1995)",
        "Animation",
        "Animation|Children's|Comedy",
        1995,
    )
    assert raw.items["feature:genres"].null_count() == 0
    assert (raw.items["feature:genres"] == "").sum() == 0


def test_sequences_are_the_printed_ones(data_mirror: Path) -> None:
    raw = sound(source(data_mirror, variant="1m-sequences").read())
    assert raw.events.height == 999_611
    assert raw.events["user"].n_unique() == 6_040
    assert raw.events["item"].n_unique() == 3_416
    assert raw.events.columns == ["ordinal", "user", "item"]
    assert np.all(np.diff(raw.events["user"].to_numpy()) >= 0)
    assert raw.items is not None
    assert raw.items.row(0) == (1, "Raiders of the Lost Ark (1981)")
    assert raw.items["label"].null_count() == 0


def test_sequences_agree_with_the_ratings_they_come_from(
    data_mirror: Path, one_million: Raw
) -> None:
    """By title, each film has the same number of events in both, since the 5-core took away users
    and films whole."""
    raw = source(data_mirror, variant="1m-sequences").read()
    assert raw.items is not None
    assert one_million.items is not None

    def counts(events: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
        labelled = events.join(items.select("item", "label"), on="item", maintain_order="left")
        return labelled.group_by("label").len()

    both = counts(raw.events, raw.items).join(
        counts(one_million.events, one_million.items), on="label"
    )
    assert both.height == 3_416
    assert (both["len"] == both["len_right"]).all()


def test_sequences_alone_have_no_titles(data_mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "ml-1m-sequences.zip").symlink_to(data_mirror / "ml-1m-sequences.zip")
    config = source(tmp_path, variant="1m-sequences")
    assert list(config.files()) == ["ml-1m-sequences.zip"]
    assert config.read().items is None


def test_files_are_all_that_is_read(data_mirror: Path) -> None:
    assert list(source(data_mirror).files()) == ["ml-1m.zip"]
    assert list(source(data_mirror, ncf_candidates=True).files()) == [
        "ml-1m.zip",
        "ml-1m-ncf-test.zip",
    ]
    assert list(source(data_mirror, variant="1m-sequences").files()) == [
        "ml-1m-sequences.zip",
        "ml-1m.zip",
    ]
    assert list(source(data_mirror / "ml-100k.zip", variant="100k").files()) == ["ml-100k.zip"]


def test_sequences_without_a_place_say_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MIRROR, raising=False)
    monkeypatch.setenv(CACHE, str(tmp_path))
    with pytest.raises(
        DataError,
        match=f"no public address to download from: set the environment variable {MIRROR}",
    ):
        MovieLens(kind="movielens", variant="1m-sequences").files()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variant": "1M"}, "variant: input should be '1m', '100k' or '1m-sequences'"),
        ({"variant": "100k", "ncf_candidates": True}, 'ncf_candidates needs variant = "1m"'),
    ],
)
def test_a_wrong_recipe_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(MovieLens, {"kind": "movielens", **values}, "recipe.toml")


def test_the_time_of_a_rating_is_a_feature_where_the_recipe_says_so(data_mirror: Path) -> None:
    events = source(data_mirror, variant="100k", timestamp=True).read().events
    assert events["feature:timestamp"].to_list() == events["time"].to_list()
    with pytest.raises(ConfigError, match="has no times"):
        parse(
            MovieLens,
            {"kind": "movielens", "variant": "1m-sequences", "timestamp": True},
            "recipe",
        )
