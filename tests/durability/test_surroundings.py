"""Where a command is started: a folder with foreign code or an odd name, a home that is not
writable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import Forge
from tests.support.small_commands import CASES, data, done, run_of, write_source

FALCONER = str(Path(sys.executable).with_name("falconer"))
FOREIGN = ("falconer", "mlflow", "numpy", "uvicorn", "typer", "sitecustomize", "json", "torch")
OWNED = "from pathlib import Path\nPath(__file__).with_name('OWNED').touch()\nraise SystemExit(9)\n"


def falconer(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "FALCONER_TRACKING": "on"}
    found = subprocess.run(
        [FALCONER, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "not mirrored" not in found.stderr
    return found.stdout


def test_code_in_the_working_folder_is_never_run(tmp_path: Path) -> None:
    write_source(tmp_path)
    for name in FOREIGN:
        (tmp_path / f"{name}.py").write_text(OWNED)
    for name in ("pipelines", "recsys", "workflows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(OWNED)
    falconer(tmp_path, "etl", "t.toml")
    falconer(tmp_path, "train", "popularity", "--data", data(tmp_path))
    run = run_of(tmp_path, "popularity")
    falconer(tmp_path, "recommend", run)
    falconer(tmp_path, "evaluate", run)
    assert not list(tmp_path.rglob("OWNED"))
    assert (tmp_path / "runs" / "mlflow.db").exists()


UNWRITABLE = """
import numba.core.caching as caching
def refused(self):
    raise OSError(13, "not writable")
for name in dir(caching):
    found = getattr(caching, name)
    if isinstance(found, type) and issubclass(found, caching._CacheLocator):
        found.ensure_cache_path = refused
import numpy as np
from falconer.recsys.recommending import compiled
best = compiled.nothing_yet(1, 2)
scores = np.array([[0.1, 0.9, 0.5]], np.float32)
assert compiled.take(scores, np.zeros(3, np.float32), 0, best, 2)
print(compiled.finished(best, 2)[0].tolist())
"""


def test_where_nothing_can_be_cached_code_is_compiled_anew() -> None:
    found = subprocess.run(
        [sys.executable, "-c", UNWRITABLE], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "[[1, 2]]\n"


@pytest.mark.parametrize("name", ["100% off key=value", "%41 'ü\" $HOME;x?#"])
def test_every_command_works_in_a_folder_with_an_odd_name(
    forge: Forge, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    write_source(folder)
    for case in CASES:
        if case.name != "tune":
            done(forge, folder, case)
            assert case.result(folder)
    shutil.rmtree(folder)
    assert list(tmp_path.iterdir()) == []
