"""The wheel in an empty environment, by pip's own resolver: what README does with a CSV file works
there, beside a folder of the user's own that is called `pipelines`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.installing import Installed, build, install

MEGABYTES = 700
"""What the base may take: 630 with today's versions."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, built: tuple[Path, Path]) -> Installed:
    return install(built[1], Path(sys.executable), tmp_path_factory.mktemp("base"))


def test_the_wheel_holds_files_and_no_links(built: tuple[Path, Path]) -> None:
    source, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"falconer"}
    for wanted in (
        "py.typed",
        "pipelines/cli.py",
        "pipelines/page_assets/base.html",
        "recsys/recipes/ml-1m/ease.toml",
        "vision/config.py",
        "workflows/cli.py",
    ):
        assert f"falconer/{wanted}" in names
    with tarfile.open(source) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]


def test_the_base_is_small(base: Installed) -> None:
    assert base.megabytes() < MEGABYTES


def test_own_data_from_csv_to_a_report(base: Installed) -> None:
    assert base.from_csv_to_a_report().stat().st_size > 10_000
    code = "import falconer, falconer.pipelines.runs as m; print(m.__file__)"
    assert "site-packages" in base.run("python", "-c", code).stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("etl", "complete-journey"), "demo"),
        (("train", "ncf"), "torch"),
        (("train", "als"), "implicit"),
        (("tune", "ease", "--trials", "1"), "tune"),
        (("ui",), "tracking"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_is_not_installed_names_its_extra(
    base: Installed, arguments: tuple[str, ...], extra: str
) -> None:
    dataset = base.falconer("etl", "shop.toml")
    (base.shop / "runs").mkdir(exist_ok=True)
    data = ("--data", dataset) if arguments[0] in ("train", "tune") else ()
    done = base.run("falconer", *arguments, *data)
    assert done.returncode == 2, done.stderr
    assert f'pip install "falconer[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
