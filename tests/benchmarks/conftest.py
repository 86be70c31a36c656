"""At the end of `make bench`: which peers could not be measured. The small form needs no published
data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import unmeasured
from tests.benchmarks.small import SMALL

if SMALL:

    @pytest.fixture(scope="session")
    def data_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """An empty folder."""
        return tmp_path_factory.mktemp("mirror")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the peers that have no figure."""
    ran = [one for one in terminalreporter.stats.get("passed", []) if one.when == "call"]
    if any("benchmarks" in one.nodeid for one in ran):
        terminalreporter.section("peers")
        for line in unmeasured.summary():
            terminalreporter.write_line(line)
