"""The table of `make bench-tensorflow`, in its tiny form."""

from __future__ import annotations

import pytest

from tests.benchmarks import tensorflow_speed


def test_every_side_trains_and_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    tensorflow_speed.main(["--small", "ncf"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ncf")]
    sides = [row[10:22].strip() for row in rows]
    assert sides == ["tensorflow", "torch", "merlin fit"]
    for row in rows:
        *_, start, peak = row.split()
        assert float(start) > 0.5
        assert float(peak.replace(",", "")) > 100
