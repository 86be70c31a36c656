"""The import rules of pyproject.toml hold, and each one bites."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "recsys", "vision", "workflows")

OFFENCES = [
    ("pipelines/model_versions.py", "import falconer.recsys.contracts", "floors"),
    ("pipelines/console.py", "import falconer.workflows.cli", "floors"),
    ("recsys/judging/reports.py", "import falconer.workflows.cli", "floors"),
    ("recsys/judging/reports.py", "import falconer.vision", "floors"),
    ("vision/__init__.py", "import falconer.recsys.judging.reports", "floors"),
    ("recsys/judging/reports.py", "from falconer.pipelines.etl import raw", "etl-door"),
    ("workflows/demo.py", "import falconer.pipelines.etl.raw", "etl-door"),
    ("pipelines/runs.py", "import torch", "frameworks"),
    ("pipelines/etl/raw.py", "import nvtabular", "frameworks"),
    ("recsys/stages/training.py", "import tensorflow.keras", "frameworks"),
    ("recsys/models/registry.py", "from implicit import als", "frameworks"),
    ("recsys/models/ease/on_numpy.py", "import torch", "frameworks"),
    ("recsys/models/als/on_implicit.py", "import torch", "frameworks"),
    ("workflows/demo.py", "from merlin.io import Dataset", "frameworks"),
    ("recsys/stages/training.py", "from mlflow import MlflowClient", "mlflow"),
    ("pipelines/runs.py", "import dbos", "dbos"),
    ("recsys/stages/training.py", "import dbos", "dbos"),
    ("recsys/models/ease/config.py", "import numpy", "configs"),
    ("recsys/configs/model.py", "from falconer.recsys.contracts import Queries", "configs"),
]

ALLOWED = [
    ("recsys/models/ease/on_torch.py", "import torch"),
    ("recsys/backends/torch/scoring.py", "import torch"),
    ("pipelines/training/torch.py", "import torch"),
    ("vision/resnet.py", "import torch"),
    ("workflows/retrain.py", "import dbos"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source that a test may spoil."""
    copy = tmp_path_factory.mktemp("tree")
    (copy / "falconer").mkdir()
    shutil.copy(ROOT / "falconer" / "__init__.py", copy / "falconer")
    for package in PACKAGES:
        (copy / "falconer" / package).symlink_to(Path("..") / package)
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def broken_contracts(tree: Path) -> set[str]:
    """Ids of the contracts that import-linter finds broken in a tree."""
    contracts = dict(
        re.findall(r'^id = "(.+)"\nname = "(.+)"$', (tree / "pyproject.toml").read_text(), re.M)
    )
    assert len(contracts) >= 6
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo"]
    environment = {**os.environ, "COLUMNS": "200"}
    found = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    broken = {key for key, name in contracts.items() if f"{name} BROKEN" in found.stdout}
    assert "Contracts: " in found.stdout, found.stdout + found.stderr
    assert (found.returncode != 0) == bool(broken), found.stdout
    return broken


def test_the_rules_hold(tree: Path) -> None:
    assert broken_contracts(tree) == set()


@pytest.mark.parametrize(
    ("file", "line", "contract"), OFFENCES, ids=[f"{o[0]}: {o[1]}" for o in OFFENCES]
)
def test_each_rule_bites(tree: Path, file: str, line: str, contract: str) -> None:
    spoiled = tree / file
    before = spoiled.read_text(encoding="utf-8")
    try:
        spoiled.write_text(f"{before}\n\ndef offend() -> None:\n    {line}\n", encoding="utf-8")
        assert broken_contracts(tree) == {contract}
    finally:
        spoiled.write_text(before, encoding="utf-8")


def test_every_rule_has_an_offence() -> None:
    configured = set(re.findall(r'^id = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M))
    assert {contract for _, _, contract in OFFENCES} == configured


def test_frameworks_may_be_imported_in_their_places(tree: Path) -> None:
    before = {
        tree / file: (tree / file).read_bytes() if (tree / file).exists() else None
        for file, _ in ALLOWED
    }
    folders = [path.parent for path in before if not path.parent.exists()]
    try:
        for path, (_, line) in zip(before, ALLOWED, strict=True):
            path.parent.mkdir(exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(f"{line}\n", encoding="utf-8")
        assert broken_contracts(tree) == set()
    finally:
        for path, content in before.items():
            path.unlink() if content is None else path.write_bytes(content)
        for folder in folders:
            shutil.rmtree(folder)
