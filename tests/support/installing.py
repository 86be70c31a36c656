"""Builds what pip installs, and installs it in empty environments by pip's own resolver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
"""What pyproject.toml says that the package runs on."""


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


def build(folder: Path) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    uv = Path(sys.executable).parent / "uv"
    flags = ("--quiet", "--no-build-isolation", "--offline", "--python", sys.executable)
    done = run(uv, "build", *flags, "--out-dir", folder, ROOT, folder=folder)
    assert done.returncode == 0, done.stderr
    (source,), (wheel,) = folder.glob("falconer-*.tar.gz"), folder.glob("falconer-*.whl")
    return source, wheel


def interpreters() -> dict[str, Path]:
    """Version -> an interpreter of it on this machine, on PATH or below ~/.pyenv."""
    found = {}
    for version in VERSIONS:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        own = [Path(sys.executable)] if version == f"3.{sys.version_info.minor}" else []
        on_path = [Path(name)] if (name := shutil.which(f"python{version}")) else []
        works = [path for path in (*own, *pyenv, *on_path) if _is(path, version)]
        if works:
            found[version] = works[0]
    return found


def _is(python: Path, version: str) -> bool:
    code = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
    return run(python, "-c", code, folder=ROOT).stdout.strip() == version


@dataclass(frozen=True)
class Installed:
    """An environment that holds a wheel and what it asks for, and a folder with README's CSV file
    and recipe beside packages of the user's own."""

    folder: Path
    shop: Path

    def megabytes(self) -> float:
        """Of all files of the environment, with pip and compiled Python, in 10^6 bytes."""
        files = [
            path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()
        ]
        return sum(path.stat().st_size for path in files) / 1e6

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """One program of the environment, in the shop's folder."""
        return run(self.folder / "bin" / program, *arguments, folder=self.shop)

    def falconer(self, *arguments: str | Path) -> str:
        """One command; the last line that it prints."""
        done = self.run("falconer", *arguments)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr.lower()
        return done.stdout.strip().splitlines()[-1]

    def from_csv_to_a_report(self) -> Path:
        """README's example; the page of the comparison."""
        dataset = self.falconer("etl", "shop.toml")
        runs = []
        for model in ("ease", "popularity"):
            runs.append(self.falconer("train", model, "--data", dataset))
            self.falconer("recommend", runs[-1])
            self.falconer("evaluate", runs[-1], "--data", dataset)
        return self.shop / self.falconer("compare", *runs, "--out", "report.html")


def install(wheel: Path, python: Path, folder: Path) -> Installed:
    """A fresh environment of an interpreter with a wheel in it."""
    installed = Installed(folder / "environment", folder / "shop")
    made = run(python, "-m", "venv", installed.folder, folder=folder)
    assert made.returncode == 0, made.stderr
    pip = installed.folder / "bin" / "python"
    done = run(pip, "-m", "pip", "install", "-q", wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    _fill(installed)
    return installed


def _fill(installed: Installed) -> None:
    for name in ("pipelines", "recsys"):
        (installed.shop / name).mkdir(parents=True)
        own = installed.shop / name / "__init__.py"
        own.write_text("raise RuntimeError('not yours')\n", encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own data")[2]
    found = list(blocks(text))
    recipe = next(block.text for block in found if block.kind == "toml")
    (installed.shop / "shop.toml").write_text(recipe, encoding="utf-8")
    program = next(block.text for block in found if block.kind == "python")
    assert installed.run("python", "-c", program).returncode == 0
