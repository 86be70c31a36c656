"""MovieLens by GroupLens: 1M, 100K, and 1M in the printed order of the SASRec and BERT4Rec papers.
Research only.

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.etl.raw import Raw, feature_column, with_features
from falconer.pipelines.etl.sources.archive import Archive, Found, Member

ADDRESS = "https://files.grouplens.org/datasets/movielens"
ML_1M = Archive(
    zip_name="ml-1m.zip",
    folder="ml-1m",
    address=f"{ADDRESS}/ml-1m.zip",
    members={
        "ratings.dat": Member(
            24_594_131, "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f"
        ),
        "movies.dat": Member(
            171_308, "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9"
        ),
        "users.dat": Member(
            134_368, "1dc3a95300cb19f7c10e027daf29b8cdf1d908dab65b5edfb45950aa389a10a3"
        ),
    },
)
ML_100K = Archive(
    zip_name="ml-100k.zip",
    folder="ml-100k",
    address=f"{ADDRESS}/ml-100k.zip",
    members={
        "u.data": Member(
            1_979_173, "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
        ),
        "u.item": Member(
            236_344, "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"
        ),
        "u.user": Member(
            22_628, "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c"
        ),
        "u.genre": Member(202, "9757e0d3e6b298159a80dd48eaf938114690e911e39af97a76949ef1663610bb"),
    },
)
SEQUENCES = Archive(
    zip_name="ml-1m-sequences.zip",
    folder="ml-1m-sequences",
    members={
        "ml-1m.txt": Member(
            9_053_831, "b725f3acb3986fe3130bffd1e77a74d182a1f51799567a236dbd60270f95b0a2"
        ),
        "sas_to_original_items.txt": Member(
            32_109, "9ae42c23af0b0fe2f189b9d5acc6cf3936bffe1a9568390cf5d100c0c1b1fca1"
        ),
    },
)
NCF_TEST = Archive(
    zip_name="ml-1m-ncf-test.zip",
    folder="ml-1m-ncf",
    members={
        "ml-1m.test.negative": Member(
            2_891_424, "127853228a76b7d21c0481e8ef8d00dd009cd5c88670dbdd9e9debfdb9f93de4"
        ),
    },
)
ARCHIVES = {"1m": ML_1M, "100k": ML_100K, "1m-sequences": SEQUENCES}
LICENCE = "MovieLens by GroupLens: for research only, not to be redistributed."
SEQUENCES_NOTE = (
    "MovieLens-1M in the order of the SASRec and BERT4Rec papers: "
    "6,040 users, 3,416 items, 999,611 events, no times."
)
NCF_NOTE = (
    "Test items and 99 given negatives a user as published with NCF (He et al. 2017): a "
    "sampled protocol."
)


class MovieLens(Config):
    """Ratings of films. Archives are taken from `path`, $FALCONER_DATA_MIRROR or GroupLens'
    address, in this order."""

    kind: Literal["movielens"]
    variant: Literal["1m", "100k", "1m-sequences"] = "1m"
    path: Path | None = None
    """A zip file, its unpacked folder, or the folder that holds either."""
    ncf_candidates: bool = False
    """Besides ratings (1m only) read the test items and 99 given negatives a user of He et al. 2017
    (NCF)."""
    timestamp: bool = False
    """A rating's time (seconds since 1970) is an event feature too, called `timestamp`."""

    @model_validator(mode="after")
    def _sequences_have_no_times(self) -> MovieLens:
        if self.timestamp and self.variant == "1m-sequences":
            raise ValueError('timestamp: variant = "1m-sequences" has no times')
        return self

    @model_validator(mode="after")
    def _candidates_are_of_1m(self) -> MovieLens:
        if self.ncf_candidates and self.variant != "1m":
            raise ValueError('ncf_candidates needs variant = "1m"')
        return self

    def files(self) -> dict[str, Path]:
        """Name -> path of every file that `read` reads; what is not at hand is downloaded now.

        Raises `DataError` where an archive is not found and cannot be had.
        """
        main = self._main()
        others = [NCF_TEST.locate(main.place.parent)] if self.ncf_candidates else []
        films = _films_near(main) if self.variant == "1m-sequences" else None
        return {
            name: path
            for found in (main, *others, *filter(None, [films]))
            for name, path in found.files().items()
        }

    def read(self) -> Raw:
        """Read the archives; `DataError` where a member is not the published file, byte by byte."""
        main = self._main()
        if self.variant == "1m-sequences":
            return _read_sequences(main, _films_near(main))
        raw = _read_100k(main) if self.variant == "100k" else _read_1m(main)
        if self.timestamp:
            times = pl.col("time").alias(feature_column("timestamp"))
            raw = replace(raw, events=raw.events.with_columns(times))
        if not self.ncf_candidates:
            return raw
        candidates = _ncf_candidates(NCF_TEST.locate(main.place.parent), raw.events["item"])
        return replace(raw, candidates=candidates, notes=(*raw.notes, NCF_NOTE))

    def _main(self) -> Found:
        return ARCHIVES[self.variant].locate(self.path)


def _films_near(sequences: Found) -> Found | None:
    """MovieLens-1M, for its titles, in the folder where the sequences are."""
    return ML_1M.find_in(sequences.place.parent)


def _read_1m(found: Found) -> Raw:
    events = _table(
        found.read("ratings.dat").replace(b"::", b"\t"),
        "user item rating time",
        {"rating": pl.Float64},
    )
    users = _table(
        found.read("users.dat").replace(b"::", b"\t"),
        "user gender age occupation zip",
        {"gender": pl.String, "zip": pl.String},
    )
    return Raw(
        events=_numbered(events),
        users=with_features(users),
        items=with_features(_films(found)),
        notes=(LICENCE,),
    )


def _films(found: Found) -> pl.DataFrame:
    text = found.read("movies.dat").decode("latin-1").encode().replace(b"::", b"\t")
    films = _table(text, "item label genres", {"label": pl.String, "genres": pl.String})
    return films.select("item", "label", *_film_features())


def _film_features() -> Iterable[pl.Expr]:
    """The first genre, all genres joined by "|", and the year in the title (null where it has
    none)."""
    yield pl.col("genres").str.split("|").list.first().alias("genre")
    yield pl.col("genres")
    yield pl.col("label").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int64).alias("year")


def _read_100k(found: Found) -> Raw:
    events = _table(found.read("u.data"), "user item rating time", {"rating": pl.Float64})
    users = _table(
        found.read("u.user"),
        "user age gender occupation zip",
        {"gender": pl.String, "occupation": pl.String, "zip": pl.String},
        separator="|",
    )
    genres = [line.split("|")[0] for line in found.read("u.genre").decode("latin-1").split()]
    names = ["item", "label", "released", "video", "address", *genres]
    text = dict.fromkeys(("label", "released", "video", "address"), pl.String)
    films = _table(found.read("u.item").decode("latin-1").encode(), names, text, separator="|")
    listed = pl.concat_list(pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in genres)
    films = films.select("item", "label", genres=listed.list.drop_nulls().list.join("|"))
    return Raw(
        events=_numbered(events),
        users=with_features(users),
        items=with_features(films.select("item", "label", *_film_features())),
        notes=(LICENCE,),
    )


def _read_sequences(found: Found, films: Found | None) -> Raw:
    """Events in the order of the lines, without times; titles come from `films` where that is at
    hand."""
    events = _table(found.read("ml-1m.txt"), "user item", separator=" ")
    items = _table(found.read("sas_to_original_items.txt"), "item original", separator=" ")
    if films:
        titles = _films(films).select(original="item", label="label")
        items = items.join(titles, on="original", how="left", maintain_order="left").select(
            "item", "label"
        )
    return Raw(
        events=_numbered(events),
        items=items.select("item", "label") if films else None,
        notes=(SEQUENCES_NOTE, LICENCE),
    )


def _ncf_candidates(found: Found, rated: pl.Series) -> pl.DataFrame:
    """The films to rank for each user: the held-out one and those given. For 156 users the held-out
    film is among the given ones too, so that 99 differ and not 100; the published evaluation counts
    it once as well.

    Their user u is the original user u + 1, their film i the i-th one to appear in the ratings.
    """
    fields = found.read("ml-1m.test.negative").translate(bytes.maketrans(b",", b"\t"), b"()")
    films = [f"film {place}" for place in range(100)]
    table = _table(fields, ["user", *films])
    original = rated.unique(maintain_order=True).to_numpy()[table.select(films).to_numpy()]
    candidates = (
        pl.Series("candidates", np.sort(original, axis=1))
        .arr.to_list()
        .list.unique(maintain_order=True)
    )
    return pl.DataFrame(
        {"user": table["user"] + 1, "item": original[:, 0], "candidates": candidates}
    )


def _table(
    content: bytes,
    names: str | Iterable[str],
    types: Mapping[str, type[pl.DataType]] | None = None,
    *,
    separator: str = "\t",
) -> pl.DataFrame:
    """A table without a header and quotes; columns are int64 but for those in `types`."""
    columns = names.split() if isinstance(names, str) else names
    schema = {name: (types or {}).get(name, pl.Int64) for name in columns}
    return pl.read_csv(
        content, has_header=False, schema=schema, separator=separator, quote_char=None
    )


def _numbered(events: pl.DataFrame) -> pl.DataFrame:
    return events.with_row_index("ordinal").with_columns(pl.col("ordinal").cast(pl.Int64))
