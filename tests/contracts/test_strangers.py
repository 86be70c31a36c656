"""A model of another package: installed from a folder, checked by the kit as ours are, and used by
every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset

STRANGER = Path(__file__).parents[1] / "support/stranger"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the package was installed."""
    source, target = tmp_path_factory.mktemp("source") / "toy", tmp_path_factory.mktemp("site")
    shutil.copytree(STRANGER, source)
    command = "-m pip install --quiet --no-deps --no-build-isolation --no-index --target"
    subprocess.run([sys.executable, *command.split(), str(target), str(source)], check=True)
    return target


def falconer(site: Path, *arguments: str, code: int = 0, cwd: Path | None = None) -> str:
    """What a command prints, with the package to be found."""
    return python(site, "-m", "falconer.workflows.cli", *arguments, code=code, cwd=cwd)


def python(site: Path, *arguments: str, code: int = 0, cwd: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "FALCONER_TRACKING": "off"}
    command = [sys.executable, "-P", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout if code == 0 else found.stderr


def test_the_kit_checks_it_as_ours_are_checked(installed: Path, tmp_path: Path) -> None:
    code = "from falconer.recsys.testing import check_model; from pathlib import Path; "
    python(installed, "-c", f"{code}check_model('co_counts', Path({str(tmp_path)!r}))")


def test_every_command_treats_it_like_ours(installed: Path, board: Dataset, tmp_path: Path) -> None:
    assert "co_counts" in falconer(installed, "models")
    recipe, data, root = str(STRANGER / "co_counts.toml"), str(board.path), str(tmp_path / "runs")
    run = Path(
        falconer(installed, "train", recipe, "--data", data, "--runs", root).splitlines()[-1]
    )
    frozen = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert frozen["package"] == "toy-recommender 0.3"
    assert json.loads((run / "run.json").read_text())["package"] == "toy-recommender 0.3"
    assert json.loads((run / "model/model.json").read_text())["package"] == "toy-recommender 0.3"
    ours = falconer(installed, "train", "ease", "--data", data, "--runs", root).splitlines()[-1]
    for one in (str(run), ours):
        falconer(installed, "recommend", one, "--k", "10")
        falconer(installed, "evaluate", one, "--set", "resamples=100")
    page = tmp_path / "page.html"
    printed = falconer(installed, "compare", str(run), ours, "--out", str(page))
    assert "co_counts" in printed
    assert page.is_file()
    best = falconer(
        installed, "tune", recipe, "--data", data, "--runs", root, "--trials", "2"
    ).splitlines()[-1]
    falconer(installed, "train", best, "--data", data, "--runs", root)
    assert "has no graph" in falconer(installed, "export", str(run), code=2)


def test_a_recipe_may_name_module_and_attribute(
    installed: Path, board: Dataset, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "toyrecs.config:MODEL"\n', encoding="utf-8")
    arguments = ["train", str(recipe), "--data", str(board.path), "--runs", str(tmp_path / "runs")]
    run = Path(falconer(installed, *arguments).splitlines()[-1])
    assert ":" not in run.name
    falconer(installed, "recommend", str(run), "--k", "5")
    frozen = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert (frozen["name"], frozen["package"]) == ("toyrecs.config:MODEL", "toy-recommender 0.3")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("co_conts", "did you mean 'co_counts'"),
        ("toyrecs.config:MODELL", "has no 'MODELL'"),
        ("toyrecs.config:CoCountsConfig", "registry.Model is wanted"),
        ("toyrecsys.config:MODEL", "no module 'toyrecsys'"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(
    name: str, said: str, installed: Path, board: Dataset, tmp_path: Path
) -> None:
    arguments = ["train", name, "--data", str(board.path), "--runs", str(tmp_path / "runs")]
    text = falconer(installed, *arguments, code=2)
    assert said in text
    assert "Traceback" not in text


def test_a_recipe_of_another_version_is_refused(
    installed: Path, board: Dataset, tmp_path: Path
) -> None:
    recipe = tmp_path / "old.toml"
    recipe.write_text('name = "co_counts"\npackage = "toy-recommender 0.2"\n', encoding="utf-8")
    arguments = ["train", str(recipe), "--data", str(board.path), "--runs", str(tmp_path / "runs")]
    assert "toy-recommender 0.2" in falconer(installed, *arguments, code=2)


def test_a_model_of_ours_is_found_without_reading_entry_points(installed: Path) -> None:
    code = (
        "from falconer.pipelines import plugins; plugins.installed = None; "
        "from falconer.recsys.models.recipe import load_recipe; load_recipe('popularity')"
    )
    python(installed, "-c", code)
