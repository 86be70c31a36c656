"""Criteo's format, read block by block, and synthetic rows in it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.sources import criteo, criteo_synthetic
from falconer.pipelines.etl.sources.criteo import CATEGORIES, COUNTS, NAMES, Criteo
from falconer.pipelines.etl.sources.criteo_synthetic import (
    CriteoSynthetic,
    _Signal,
    best_auc,
    best_log_loss,
    power_law,
)
from tests.support.features import named


def line(label: str = "1", count: str = "7", category: str = "00ff") -> list[str]:
    """The fields of a row with one value of each kind, and nothing else."""
    return [label, count, *[""] * 12, category, *[""] * 25]


def write(path: Path, rows: list[list[str]]) -> Path:
    content = "".join("\t".join(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def source(path: Path | str, **options: object) -> Criteo:
    return Criteo.model_validate({"kind": "criteo", "path": str(path), **options})


@pytest.mark.parametrize("name", ["day.tsv", "train.txt", "day.gz", "day"])
def test_text_is_read_plain_and_compressed(name: str, tmp_path: Path) -> None:
    raw = source(
        write(tmp_path / name, [line(), line("0", "", ""), line("0", "-2", "ffffffff")])
    ).read()
    assert named(raw.events).columns == ["ordinal", *NAMES]
    assert raw.events["label"].to_list() == [1.0, 0.0, 0.0]
    assert named(raw.events)["I1"].to_list() == [7, None, -2]
    assert named(raw.events)["C1"].to_list() == [255, None, 2**32 - 1]
    assert named(raw.events)["C26"].null_count() == 3
    assert raw.malformed == {}


def test_parquet_of_text_and_of_numbers_gives_the_same_rows(tmp_path: Path) -> None:
    text = named(source(write(tmp_path / "a.tsv", [line(), line("0", "", "")])).read().events)
    text.drop("ordinal").write_parquet(tmp_path / "a.parquet")
    as_floats = text.drop("ordinal").with_columns(
        pl.col(COUNTS).cast(pl.Float64).fill_null(float("nan"))
    )
    hexadecimal = [
        pl.Series(name, [None if v is None else f"{v:08x}" for v in text[name]])
        for name in CATEGORIES
    ]
    as_floats.with_columns(*[one.cast(pl.String) for one in hexadecimal]).write_parquet(
        tmp_path / "b.parquet"
    )
    for name in ("a", "b"):
        assert named(source(tmp_path / f"{name}.parquet").read().events).equals(text)


def test_rows_that_do_not_fit_are_set_apart_with_reason_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        criteo, "BLOCK_BYTES", 512
    )  # many blocks: places must go on from one to the next
    rows = [line(count=str(number)) for number in range(200)]
    bad = {
        3: line(count="x"),
        50: line()[:-1],
        51: [*line(), "more"],
        120: line(category="xyz"),
        199: line(label="?"),
    }
    bad |= {77: line(count="1.5"), 78: line(count=str(2**31)), 79: line(category="100000000")}
    for place, row in bad.items():
        rows[place] = row
    raw = source(write(tmp_path / "day.tsv", rows)).read()
    kept, malformed = named(raw.events), raw.malformed["events"]
    assert sorted([*kept["ordinal"], *malformed["row"]]) == list(range(200))
    assert (
        kept["I1"].to_list()
        == kept["ordinal"].to_list()
        == [place for place in range(200) if place not in bad]
    )
    reasons = dict(malformed.select("row", "reason").iter_rows())
    assert reasons[3] == reasons[77] == reasons[78] == "I1 is not a whole number of 32 bits"
    assert reasons[50] == "39 fields where the format has 40"
    assert reasons[51] == "41 fields where the format has 40"
    assert reasons[120] == reasons[79] == "C1 is not a hexadecimal number of 32 bits"
    assert reasons[199] == "label is not a number"
    assert malformed.filter(pl.col("row") == 3)["source_text"].item().startswith("1\tx\t")


@pytest.mark.parametrize("limit", [1, 5, 11, 24, 100])
def test_only_the_first_rows_of_several_files(limit: int, tmp_path: Path) -> None:
    for number in range(3):
        rows = [line(count=str(8 * number + place)) for place in range(8)]
        rows[5] = line()[:-2]
        write(tmp_path / f"day_{number}.tsv", rows)
    raw = source(tmp_path / "day_*.tsv", max_rows=limit).read()
    n = min(limit, 24)
    malformed = raw.malformed.get("events")
    places = [*raw.events["ordinal"], *([] if malformed is None else malformed["row"])]
    assert sorted(places) == list(range(n))
    assert named(raw.events)["I1"].to_list() == [place for place in range(n) if place % 8 != 5]
    assert sum(height for _, height in raw.files) == n


def test_what_is_no_such_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"1\t" * 5000)[:40])
    pl.DataFrame({"label": [1], "I1": [2]}).write_parquet(tmp_path / "few.parquet")
    (tmp_path / "latin.tsv").write_bytes("\t".join(line(category="é")).encode("latin-1") + b"\n")
    for name, message in (
        ("cut.gz", "cannot be read as Criteo's format"),
        ("few.parquet", "no column 'I2'"),
        ("latin.tsv", "cannot be read as Criteo's format"),
    ):
        with pytest.raises(DataError, match=message):
            source(tmp_path / name).read()
    with pytest.raises(DataError, match="no such file"):
        source(tmp_path / "absent.tsv").files()


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criteo_synthetic, "ROWS_AT_ONCE", 4096)


def synthetic(**options: object) -> CriteoSynthetic:
    return CriteoSynthetic.model_validate({"kind": "criteo_synthetic", "rows": 20_000, **options})


@pytest.mark.usefixtures("_small_blocks")
def test_synthetic_rows_follow_from_the_seed_and_not_from_their_number() -> None:
    first, more = synthetic(rows=6000).read(), synthetic(rows=9000).read()
    assert first.events.equals(more.events.head(6000))
    assert more.events["ordinal"].to_list() == list(range(9000))
    assert first.events.equals(synthetic(rows=6000).read().events)
    assert not first.events.equals(synthetic(rows=6000, seed=1).read().events)
    assert synthetic().files() == {}


@pytest.mark.usefixtures("_small_blocks")
def test_synthetic_rows_have_the_skew_of_logs() -> None:
    events = named(synthetic(max_categories=5000).read().events)
    assert events["label"].mean() == pytest.approx(0.256, abs=0.02)
    assert events["I12"].null_count() / len(events) == pytest.approx(0.76, abs=0.02)
    assert events["C22"].null_count() / len(events) == pytest.approx(0.76, abs=0.02)
    assert events["I2"].null_count() == 0
    counts = events["C3"].drop_nulls().value_counts(sort=True)["count"].to_numpy()
    assert 1000 < len(counts) <= 5000
    assert counts[0] > 10 * counts[100] > 0
    for name in COUNTS:
        column = events[name].drop_nulls().to_numpy()
        assert column.min() >= 0
        assert column.mean() > np.median(column), "a long tail to the right"


def test_the_power_law_draws_ranks_in_proportion() -> None:
    chance = (np.arange(200_000) + 0.5)[:, None] / 200_000
    ranks = power_law(chance, np.array([1000]))[:, 0]
    drawn = np.bincount(ranks, minlength=1000)
    assert len(drawn) == 1000
    expected = np.diff(np.arange(1.0, 1002) ** -0.1)
    np.testing.assert_allclose(drawn / 200_000, expected / expected.sum(), atol=1e-5)


def test_the_note_states_what_the_planted_signal_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criteo_synthetic, "ROWS_AT_ONCE", 20_000)
    config = synthetic()
    frame, probability = _Signal(config).block(0, 20_000)
    label = frame["label"].to_numpy()
    assert best_auc(probability) == pytest.approx(roc_auc_score(label, probability), abs=0.015)
    assert best_log_loss(probability) == pytest.approx(log_loss(label, probability), abs=0.015)
    (note,) = config.read().notes
    assert note.startswith("SYNTHETIC")
    assert f"{best_auc(probability):.4f}" in note
    assert f"{best_log_loss(probability):.4f}" in note


def test_the_planted_signal_is_the_one_that_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures measured on the synthetic rows hold only as long as the rows are the same."""
    monkeypatch.setattr(criteo_synthetic, "ROWS_AT_ONCE", 3000)
    signal = _Signal(synthetic())
    for number, first in enumerate([0.17775744, 0.04377636]):
        assert signal.block(number, 3000)[1][0] == pytest.approx(first, rel=1e-6)
    probability = signal.block(0, 3000)[1]
    assert probability.mean() == pytest.approx(0.256, rel=1e-9)
    assert probability.std() == pytest.approx(0.21863883, rel=1e-6)


def test_the_best_auc_is_the_mean_over_all_labels() -> None:
    p = np.array([0.2, 0.5, 0.9])
    wins = sum(p[i] * (1 - p[j]) for i in range(3) for j in range(3) if p[i] > p[j])
    pairs = sum(p[i] * (1 - p[j]) for i in range(3) for j in range(3) if i != j)
    assert best_auc(p) == pytest.approx(wins / pairs)


@pytest.mark.usefixtures("_small_blocks")
def test_without_a_signal_nothing_can_be_told() -> None:
    (note,) = synthetic(strength=0).read().notes
    assert "AUC of 0.5000" in note
