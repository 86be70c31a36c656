"""`make bench-retraining`, in small."""

from __future__ import annotations

import pytest

from tests.benchmarks import retraining


@pytest.mark.slow
def test_every_figure_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    retraining.main(["--runs", "3", "--repeats", "1"])
    printed = capsys.readouterr().out
    assert all(f"{name}: median " in printed for name in retraining.TARGETS)
    assert "3 runs before" in printed
