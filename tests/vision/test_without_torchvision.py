"""The vision wing needs no torchvision: neither an absent nor a broken one is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pictures import SMALL, colour_folder

ROOT = Path(__file__).resolve().parents[2]
ABSENT = "import sys; sys.modules['torchvision'] = sys.modules['timm'] = None\n"
IMPORTS = """
import importlib, pkgutil
import falconer.vision
for module in pkgutil.walk_packages(falconer.vision.__path__, "falconer.vision."):
    importlib.import_module(module.name)
"""
TRAINS = f"""
from pathlib import Path
from falconer.vision.stages.evaluate import evaluate
from falconer.vision.stages.export import export
from falconer.vision.stages.train import train
overrides = {[*SMALL, "training.epochs=1", "first_look=false"]}
run = train("small-pictures", "photos", Path("runs"), overrides=overrides)
evaluate(run)
export(run, Path("photos.onnx"))
"""


def run(code: str, folder: Path, more_path: Path | None = None) -> None:
    """Run the code in a process of its own; its modules may come from `more_path` too."""
    path = os.pathsep.join(str(one) for one in (more_path, ROOT) if one is not None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Packages that raise as one built for another torch does."""
    for name in ("torchvision", "timm"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        text = "raise RuntimeError('operator torchvision::nms does not exist')\n"
        (tmp_path / "broken" / name / "__init__.py").write_text(text)
    return tmp_path / "broken"


def test_every_module_is_imported_without_one(tmp_path: Path) -> None:
    run(ABSENT + IMPORTS, tmp_path)


def test_all_of_a_run_is_done_beside_a_broken_one(tmp_path: Path, broken: Path) -> None:
    colour_folder(tmp_path / "photos", n=6)
    with pytest.raises(AssertionError, match="nms does not exist"):
        run("import torchvision", tmp_path, broken)
    run(IMPORTS + TRAINS, tmp_path, broken)
