"""What every test shares: the real data's folder, tracking off, and no silent skip in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import board, clicks

__all__ = ["board", "clicks"]
DATA_MIRROR = "FALCONER_DATA_MIRROR"
ONLY_TENSORFLOW = "FALCONER_TEST_TENSORFLOW"
"""Set to 1, tests of TensorFlow are run, and else all others: merlin-models cannot be imported in a
process that has imported NVTabular, and TensorFlow's threads are chosen once."""


def in_ci() -> bool:
    """Whether this is a run in continuous integration (`CI=true`), where everything that tests need
    must be there."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def is_of_tensorflow(item: pytest.Item) -> bool:
    """Whether a test trains on TensorFlow: it is in `tests/tensorflow`, or its backend is that."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    folder = Path(__file__).parent / "tensorflow"
    return folder in item.path.parents or parameters.get("backend") == "tensorflow"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of TensorFlow, or the others."""
    wanted = os.environ.get(ONLY_TENSORFLOW) == "1"
    others = [item for item in items if is_of_tensorflow(item) != wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if is_of_tensorflow(item) == wanted]


@pytest.fixture(scope="session", autouse=True)
def _no_tracking() -> Iterator[None]:
    """Training in a test does not start MLflow; the tests of tracking turn it on themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FALCONER_TRACKING", "off")
        yield


@pytest.fixture(scope="session")
def data_mirror() -> Path:
    """Folder of the published data files (ml-1m.zip and others); skips where it is not set, which
    fails in CI."""
    value = os.environ.get(DATA_MIRROR)
    if not value:
        pytest.skip(
            f"needs the environment variable {DATA_MIRROR}: the folder that holds ml-1m.zip and "
            "others"
        )
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f"{DATA_MIRROR}={value}: no such folder")
    return path


def _refuse_skip(report: Any) -> None:
    """In CI a skipped test is a failed one: something that it needs is absent there, and nobody
    would notice."""
    if in_ci() and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where no test may be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Refuse skips of single tests."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Refuse skips of whole files."""
    report = yield
    _refuse_skip(report)
    return report
