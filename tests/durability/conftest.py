"""One process that forks, for every file of tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import Forge


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    with Forge() as forge:
        yield forge
