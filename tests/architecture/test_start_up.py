"""What the command line imports before it does anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FRAMEWORKS = {"torch", "tensorflow", "merlin", "nvtabular", "cudf", "dask", "implicit", "mlflow"}
HEAVY = FRAMEWORKS | {"numpy", "scipy", "pandas", "polars", "pyarrow", "jinja2"}


def imported_by(program: str) -> set[str]:
    """Top-level names of the modules that a program has imported at its end."""
    code = (
        f"{program}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] "
        f"for name in sys.modules}})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return set(json.loads(found.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    [
        "falconer.pipelines.cli",
        "falconer.recsys.cli",
        "falconer.vision.cli",
        "falconer.workflows.cli",
        "falconer.workflows.demo",
    ],
)
def test_command_modules_import_nothing_heavy(module: str) -> None:
    assert not imported_by(f"import {module}") & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["etl", "--help"], ["evaluate", "--help"]],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert (
        not imported_by(f"from falconer.workflows import cli\nassert cli.run({arguments}) == 0")
        & HEAVY
    )


@pytest.mark.parametrize(
    "module",
    [
        "falconer.pipelines.stages",
        "falconer.recsys.stages",
        "falconer.recsys.models.registry",
        "falconer.pipelines.tracking",
    ],
)
def test_stages_import_no_framework(module: str) -> None:
    assert not imported_by(f"import {module}") & FRAMEWORKS


def test_telling_runs_of_pictures_apart_needs_no_extra() -> None:
    """`falconer compare` of recommenders does it too, and runs without torch and Pillow."""
    assert not imported_by("import falconer.vision.runs") & (HEAVY | {"PIL", "safetensors"})


def test_an_import_is_seen() -> None:
    assert "numpy" in imported_by("import numpy.linalg")


def test_a_build_by_polars_imports_no_pandas(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from falconer.pipelines.etl.build import build
from tests.support import shop
folder = Path({str(tmp_path)!r})
recipe = shop.recipe(shop.write(folder / "in", shop.events()))
build(recipe, folder / "out")"""
    assert not imported_by(program) & (FRAMEWORKS | {"pandas", "scipy"})
