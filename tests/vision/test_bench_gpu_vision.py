"""The benchmark of networks runs in small where there is no GPU."""

from __future__ import annotations

from tests.benchmarks.gpu_vision import measure


def test_it_runs_in_small() -> None:
    found = measure(small=True, seconds=0.05)
    assert found.keys() == {"training", "answering"}
    assert min(found.values()) > 0
