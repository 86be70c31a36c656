"""What `make seeds-tensorflow` says of two sides' seeds, and its tiny form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import tensorflow_seeds
from tests.benchmarks.tensorflow_seeds import Training, interval, lines_of, overlap
from tests.support.datasets import checkerboard


def test_an_interval_is_students() -> None:
    """Sleep data of Student 1908: ten differences, whose interval any table has."""
    found = interval([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert (found.mean, found.low, found.high) == pytest.approx((1.58, 0.7001142, 2.4598858))


@pytest.mark.parametrize(
    ("torch", "said", "between"),
    [
        ((0.10, 0.12, 0.11), "intervals overlap", "+0.0000 [-0.0248, +0.0248]"),
        ((0.20, 0.21, 0.22), "intervals do not overlap", "-0.1000 [-0.1000, -0.1000]"),
    ],
    ids=["alike", "apart"],
)
def test_sides_overlap_or_do_not(torch: tuple[float, ...], said: str, between: str) -> None:
    values = {"torch": torch, "tensorflow": (0.10, 0.11, 0.12)}
    lines = lines_of("ncf", "ndcg@10", values)
    assert lines[0] == "ncf: ndcg@10 on test, 3 seeds a side"
    assert lines[2].split()[:4] == ["tensorflow", "0.1100", "[0.0852,", "0.1348]"]
    assert lines[3].strip() == said
    assert lines[4].endswith(between)
    assert overlap(values) == (said == "intervals overlap")


def apart(training: Training, data: Path, root: Path) -> float:
    """Sides that are not alike."""
    return (0.2 if training.side == "torch" else 0.1) + training.seed / 1000


def test_what_was_trained_is_kept_and_sides_apart_end_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = checkerboard(tmp_path / "board").path
    monkeypatch.setattr(tensorflow_seeds.etl_stages, "etl", lambda wanted, root: board)
    monkeypatch.setattr(tensorflow_seeds, "value_of", apart)
    assert tensorflow_seeds.main(["vae_cf"], tmp_path / "kept") == 1
    first = capsys.readouterr().out
    assert "intervals do not overlap" in first
    monkeypatch.setattr(tensorflow_seeds, "value_of", None)
    assert tensorflow_seeds.main(["vae_cf"], tmp_path / "kept") == 1
    assert capsys.readouterr().out == first


@pytest.mark.slow
def test_both_sides_train_with_each_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert tensorflow_seeds.main(["--small"]) == 0
    *_, head, torch, ours, _, _ = capsys.readouterr().out.splitlines()
    assert head.startswith("small: ndcg@10 on test, 2 seeds a side")
    for line in (torch, ours):
        assert all(float(value) > 0.2 for value in line.partition("seeds: ")[2].split())
