"""Every benchmark runs in its small form, and a peer without a figure is named at the end."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from tests.benchmarks import etl_scale, recbole_peer, unmeasured

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_the_suite_runs_in_small_and_names_the_peers_that_it_left_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/benchmarks", "-m", "benchmark_suite"]
    given = {"FALCONER_BENCH_SMALL": "1", "FALCONER_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*command, "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'small'}"],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
    _, _, told = ended.stdout.partition("== peers ==")
    for peer in ("RecBole", "irspack", "merlin-models", "ranx", "rectools"):
        assert f"not measured: {peer}: the small form starts no peer" in told


def test_a_peer_that_cannot_be_set_up_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "scripts" / "peers" / "recbole"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\necho no such index >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(recbole_peer, "ROOT", tmp_path)
    monkeypatch.setattr(unmeasured, "REASONS", {})
    assert unmeasured.summary() == ["none was left out"]
    assert recbole_peer.environment_of() is None
    (line,) = unmeasured.summary()
    assert line.startswith("not measured: RecBole: scripts/peers/recbole failed: no such index")


def test_a_peer_that_ends_at_once_is_named_with_its_last_words(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RecBole's script in our own environment, which has no RecBole."""
    monkeypatch.setattr(recbole_peer, "environment_of", lambda: Path(sys.executable))
    monkeypatch.setattr(unmeasured, "REASONS", {})
    with recbole_peer.started_peer(board, tmp_path, {"model": "NeuMF"}, threads=1) as peer:
        assert isinstance(peer, unmeasured.Absent)
        assert math.isnan(peer.samples_per_second(10))
    (line,) = unmeasured.summary()
    assert line == (
        "not measured: RecBole: it ended at once: ModuleNotFoundError: No module named 'recbole'"
    )


def test_the_etl_is_measured_beside_three_others_in_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    etl_scale.wide(tmp_path, 2000, rounds=1)
    etl_scale.nvtabular(tmp_path, 2000)
    printed = capsys.readouterr().out
    assert all(f"  {name}" in printed for name in ("falconer etl", "Polars", "DuckDB", "NVTabular"))


def test_appending_joining_and_workers_are_measured_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journey(tmp_path / "journey")
    monkeypatch.setattr(etl_scale, "_journey", lambda: tmp_path / "journey")
    etl_scale.append(tmp_path)
    etl_scale.promotions(tmp_path)
    etl_scale.workers(tmp_path, 2000, "3GB", counts=[2])
    printed = capsys.readouterr().out
    assert "a day of 10 of 700 purchases appended: " in printed
    assert "700 promotions joined with products" in printed
    assert "2,000 wide rows, 2 workers, the largest process, memory_limit 3GB: peak " in printed


def journey(folder: Path) -> None:
    """Tables with the names and columns of The Complete Journey's, ten purchases a day."""
    folder.mkdir()
    numbers = pl.DataFrame({"n": range(700)})
    start = pl.datetime(2017, 1, 1, 12)
    numbers.select(
        household_id=pl.col("n") % 9,
        product_id=pl.col("n") % 13,
        sales_value=pl.col("n") / 7,
        transaction_timestamp=start + pl.duration(days=pl.col("n") // 10, minutes=pl.col("n")),
    ).write_parquet(folder / "transactions.parquet")
    numbers.select(
        store_id=pl.col("n") % 5, product_id=pl.col("n") % 13, week=pl.col("n") % 50
    ).write_parquet(folder / "promotions.parquet")
    pl.DataFrame(
        {"product_id": range(13), "department": ["a"] * 13, "brand": ["b", *("c" * 12)]}
    ).write_parquet(folder / "products.parquet")
