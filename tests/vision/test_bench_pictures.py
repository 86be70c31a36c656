"""The benchmark beside torchvision and DataLoader runs in small, without torchvision."""

from __future__ import annotations

import pytest

from tests.benchmarks import pictures


def test_it_runs_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WORKERS", 0)
    found = dict(pictures.finding(pictures.SMALL, there=False))
    found |= dict(pictures.training(pictures.SMALL, there=False))
    assert len(found) == 4
    assert all("torchvision is not there" in line for line in found.values())
    rates = dict(pictures.reading(pictures.SMALL))
    assert list(rates) == ["ours, preparing (once)", "ours, an epoch", "DataLoader with Pillow"]
    assert min(rates.values()) > 0
