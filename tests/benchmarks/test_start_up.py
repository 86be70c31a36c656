"""How long the command line takes to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

from tests.benchmarks.small import sized

pytestmark = pytest.mark.benchmark_suite


def test_help() -> None:
    """Must reach: `falconer --help` in under 0.5 s (median of 9)."""
    seconds = []
    for _ in range(sized(9, 1)):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "falconer.workflows.cli", "--help"],
            capture_output=True,
            check=True,
        )
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    print(
        f"\nfalconer --help: median {median:.3f} s, from {min(seconds):.3f} to {max(seconds):.3f} "
        "(target 0.5)"
    )
