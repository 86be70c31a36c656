"""The wheel on every Python that the package is for and this machine has: `make wheel-pythons`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.installing import ROOT, VERSIONS, build, install, interpreters, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))[1]


def test_the_base_runs_and_every_extra_resolves(wheel: Path, tmp_path: Path) -> None:
    """On each of them README's example runs with the base, and pip finds versions of all extras
    together; what it finds is not downloaded whole."""
    found = interpreters()
    for version, python in found.items():
        (tmp_path / version).mkdir()
        base = install(wheel, python, tmp_path / version)
        assert base.from_csv_to_a_report().stat().st_size > 10_000
        whole = f"falconer[all] @ {wheel.as_uri()}"
        pip = base.folder / "bin" / "pip"
        done = run(pip, "install", "-q", "--dry-run", whole, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        print(f"\nPython {version}: the base runs, {base.megabytes():.0f} MB; all extras resolve")
    for version in sorted(set(VERSIONS) - set(found)):
        print(f"Python {version}: not checked, no interpreter of it here")


def test_the_versions_are_those_of_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.11,<3.14"' in text
    assert VERSIONS == ("3.11", "3.12", "3.13")
