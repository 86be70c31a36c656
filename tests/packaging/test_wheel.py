"""The wheel in an empty environment, by pip's own resolver: what README does with a CSV file works
there, beside a folder of the user's own that is called `pipelines`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
MEGABYTES = 900
"""What the base may take: 830 with today's versions."""

pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without this environment's own Python settings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    flags = ("--quiet", "--no-deps", "--no-build-isolation")
    done = run(sys.executable, "-m", "pip", "wheel", *flags, "-w", folder, ROOT, folder=folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("falconer-*.whl")
    return path


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The programs of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("empty")
    made = run(sys.executable, "-m", "venv", folder, folder=folder)
    assert made.returncode == 0, made.stderr
    done = run(folder / "bin/python", "-m", "pip", "install", "-q", wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Path:
    """A folder with README's CSV file and recipe, and a package of the user's own."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("pipelines", "recsys"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    own = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own data")[2]
    found = list(blocks(own))
    program = next(block.text for block in found if block.kind == "python")
    recipe = next(block.text for block in found if block.kind == "toml")
    (folder / "shop.toml").write_text(recipe, encoding="utf-8")
    assert run(empty / "python", "-c", program, folder=folder).returncode == 0
    return folder


def falconer(empty: Path, shop: Path, *arguments: str | Path) -> str:
    """One command; the last line that it prints."""
    done = run(empty / "falconer", *arguments, folder=shop)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_wheel_holds_files_and_no_links(wheel: Path) -> None:
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


def test_the_base_is_small(empty: Path) -> None:
    files = [path for path in empty.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) / 1e6 < MEGABYTES


def test_own_data_from_csv_to_a_report(empty: Path, shop: Path) -> None:
    dataset = falconer(empty, shop, "etl", "shop.toml")
    runs = []
    for model in ("ease", "popularity"):
        runs.append(falconer(empty, shop, "train", model, "--data", dataset))
        falconer(empty, shop, "recommend", runs[-1])
        falconer(empty, shop, "evaluate", runs[-1], "--data", dataset)
    page = falconer(empty, shop, "compare", *runs, "--out", "report.html")
    assert (shop / page).stat().st_size > 10_000
    code = "import falconer, falconer.pipelines.runs as m; print(m.__file__)"
    done = run(empty / "python", "-c", code, folder=shop)
    assert "site-packages" in done.stdout


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
    empty: Path, shop: Path, arguments: tuple[str, ...], extra: str
) -> None:
    dataset = falconer(empty, shop, "etl", "shop.toml")
    (shop / "runs").mkdir(exist_ok=True)
    data = ("--data", dataset) if arguments[0] in ("train", "tune") else ()
    done = run(empty / "falconer", *arguments, *data, folder=shop)
    assert done.returncode == 2, done.stderr
    assert f'pip install "falconer[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
