"""`scripts/setup` installs nothing whose hash is not locked; tried with a pip that only notes what
it is asked for."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEEL = b"a wheel"
PYTHON = f"""#!/bin/bash
case "$*" in
  "-m pip --version") ;;
  *"pip download"*) printf '{WHEEL.decode()}' > "${{@: -2:1}}/torch-2.13.0-py3-none-any.whl" ;;
  *"pip install"*) echo "$*" >> asked.txt ;;
  *hashlib*) exec {sys.executable} "$@" ;;
  -) exit "${{CUDA:-1}}" ;;
  *importlib*) exit 1 ;;
esac
"""
"""In place of .venv's: torch is not there, and needs CUDA's libraries where CUDA=0."""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name in ["pyproject.toml", "scripts/setup", *map(str, ROOT.glob("requirements*"))]:
        source = ROOT / name
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    gpus = tmp_path / "bin" / "nvidia-smi"
    gpus.parent.mkdir()
    gpus.write_text("#!/bin/sh\n")
    for program in (python, gpus):
        program.chmod(0o755)
    return tmp_path


def set_up(house: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    found = {**os.environ, "PATH": f"{house / 'bin'}:/usr/bin:/bin", **environment}
    return subprocess.run(
        ["bash", "scripts/setup"], cwd=house, env=found, capture_output=True, text=True, check=False
    )


def test_a_torch_of_an_unknown_hash_is_refused_with_the_line_that_would_take_it(
    house: Path,
) -> None:
    ended = set_up(house)
    assert ended.returncode == 2
    line = re.search(r'add the line "([^"]*)" to the latter', ended.stderr)
    assert line, ended.stderr
    assert not (house / "asked.txt").exists()
    with (house / "requirements-torch.sha256").open("a") as known:
        known.write(f"{line[1]}\n")
    assert set_up(house).returncode == 0


@pytest.mark.parametrize("cuda", [False, True])
def test_everything_but_torch_and_ourselves_is_asked_for_by_hash(
    house: Path, *, cuda: bool
) -> None:
    known = house / "requirements-torch.sha256"
    known.write_text(f"{hashlib.sha256(WHEEL).hexdigest()}  torch-2.13.0-py3-none-any.whl\n")
    ended = set_up(house, CUDA="0" if cuda else "1")
    assert ended.returncode == 0, ended.stderr
    asked = (house / "asked.txt").read_text().splitlines()
    assert "torch-2.13.0-py3-none-any.whl" in asked.pop(0)
    assert asked.pop().endswith("--no-build-isolation -e .")
    assert all("--no-deps --require-hashes -r" in line for line in asked)
    locks = [line.rpartition(" ")[2] for line in asked]
    assert locks == [*(["requirements-cuda.lock"] if cuda else []), "requirements.lock"]


def test_the_known_builds_of_torch_are_of_the_version_that_is_locked() -> None:
    locked = re.search(
        r"^torch==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M
    )
    assert locked
    for line in (ROOT / "requirements-torch.sha256").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(rf"[0-9a-f]{{64}}  torch-{re.escape(locked[1])}\+\S+\.whl", line)
