"""The benchmarks themselves: what they measure is right, and what they call is there."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import etl_scale, measured

HERE = Path(__file__).resolve().parents[1] / "benchmarks"
ALLOCATE = "x = bytearray({} << 20); x[::4096] = b'1' * len(x[::4096])"


def test_the_peak_is_the_commands_own(tmp_path: Path) -> None:
    here = np.ones(400 << 17)  # 400 MB in this process, which must not be counted
    peaks = [
        measured.measure_command(
            sys.executable, "-S", "-c", ALLOCATE.format(mb), folder=tmp_path
        ).peak_mb
        for mb in (1, 100, 200)
    ]
    assert here.sum() > 0
    assert peaks[0] < 60
    assert peaks[1] - peaks[0] == pytest.approx(99, abs=8)
    assert peaks[2] - peaks[0] == pytest.approx(199, abs=8)


def test_a_command_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such reason"):
        measured.measure_command(
            sys.executable, "-c", "raise SystemExit('no such reason')", folder=tmp_path
        )


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_every_name_that_a_benchmark_takes_from_us_is_there(path: Path) -> None:
    """A benchmark is run seldom, and names move: `module.name` and `from module import name`."""
    module = importlib.import_module(f"tests.benchmarks.{path.stem}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__spec__", None) and value.__name__.startswith("falconer.")
    }
    absent = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ours
        and not hasattr(getattr(module, node.value.id), node.attr)
    ]
    assert absent == []


def test_the_etl_is_measured_beside_others_in_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    etl_scale.narrow(tmp_path, 3000, rounds=1)
    etl_scale.bounded(tmp_path / "bounded", 3000, "300.5MB")
    printed = capsys.readouterr().out
    names = ("falconer etl", "Polars by hand, no checks", "3,000 rows, memory_limit 300.5MB: peak")
    assert all(name in printed for name in names)
    assert "buckets" in (tmp_path / "bounded" / "command.log").read_text(encoding="utf-8")
