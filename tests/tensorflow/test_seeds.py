"""What `make seeds-tensorflow` says of two sides' seeds, and its tiny form."""

from __future__ import annotations

import pytest

from tests.benchmarks import tensorflow_seeds
from tests.benchmarks.tensorflow_seeds import interval, lines_of


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
    lines = lines_of("ncf", {"torch": torch, "tensorflow": (0.10, 0.11, 0.12)}, 3.0)
    assert lines[0] == "ncf: ndcg@10 on test, 3 seeds a side, 3 s"
    assert lines[2].split()[:4] == ["tensorflow", "0.1100", "[0.0852,", "0.1348]"]
    assert lines[3].strip() == said
    assert lines[4].endswith(between)


@pytest.mark.slow
def test_both_sides_train_with_each_seed(capsys: pytest.CaptureFixture[str]) -> None:
    tensorflow_seeds.main(["--small"])
    *_, head, torch, ours, _, _ = capsys.readouterr().out.splitlines()
    assert head.startswith("small: ndcg@10 on test, 2 seeds a side, ")
    for line in (torch, ours):
        assert all(float(value) > 0.2 for value in line.partition("seeds: ")[2].split())
