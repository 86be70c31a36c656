"""`falconer doctor`: each finding, and the exit code."""

from __future__ import annotations

import subprocess
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import typer

from falconer.workflows import doctor
from falconer.workflows.doctor import Finding, Package, try_package


def test_a_package_that_imports() -> None:
    found = try_package(Package("numpy", "import numpy", "arrays"), gpu=False)
    assert found.state == "ok"
    assert found.text.startswith("numpy 2.")
    assert found.remedy is None


def test_a_package_that_does_not_import() -> None:
    found = try_package(Package("numpy", "import numpy.nothing", "arrays", needed=True), gpu=False)
    assert found.state == "broken"
    assert "No module named 'numpy.nothing'" in found.text
    assert found.remedy == "make setup"


def test_a_package_that_crashes() -> None:
    found = try_package(Package("numpy", "import os; os.abort()", "arrays"), gpu=False)
    assert found.state == "absent"
    assert "exit code -6" in found.text


def test_a_package_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "IMPORT_SECONDS", 0.1)
    found = try_package(
        Package("numpy", "import time; time.sleep(60)", "arrays", needed=True), gpu=False
    )
    assert found.state == "broken"
    assert "still importing after 0.1 s" in found.text


@pytest.mark.parametrize("gpu", [True, False])
def test_a_package_that_is_not_installed(gpu: bool) -> None:
    assert try_package(Package("no-such-package", "", "nothing"), gpu=gpu).remedy == "make setup"
    found = try_package(Package("cudf-no-such", "", "nothing", on_gpu="mend it"), gpu=gpu)
    assert found.state == "absent"
    assert found.remedy == ("mend it" if gpu else None)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("torch", 'make setup, or pip install "falconer[torch]"'),
        ("numba", 'make setup, or pip install "falconer[fast]"'),
        ("mlflow", 'make setup, or pip install "falconer[tracking]"'),
        ("nvtabular", doctor.MEND_LOCKED),
        ("merlin-models", doctor.MEND_LOCKED),
        ("polars", "make setup"),
    ],
)
def test_the_line_that_adds_a_package(name: str, remedy: str) -> None:
    (package,) = (each for each in doctor.PACKAGES if each.distribution == name)
    assert doctor.remedy_for(package) == remedy


def test_the_packages_that_this_release_needs_import() -> None:
    needed = [package for package in doctor.PACKAGES if package.needed]
    assert {package.distribution for package in needed} == {"polars"}
    assert [
        found for package in needed if (found := try_package(package, gpu=False)).state != "ok"
    ] == []


def test_every_mandated_package_is_tried() -> None:
    mandated = {
        "nvtabular",
        "merlin-models",
        "cudf-cu12",
        "cudf-polars-cu12",
        "dask-cuda",
        "tensorflow",
        "torch",
        "implicit",
    }
    assert mandated <= {package.distribution for package in doctor.PACKAGES}


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 0, stdout="NVIDIA H100, 81559 MiB, 550.1\n", stderr="")
    monkeypatch.setattr(doctor, "_run", lambda *command: answer)
    assert doctor.find_gpu() == Finding("ok", "NVIDIA GPU: NVIDIA H100, 81559 MiB, 550.1")


@pytest.mark.parametrize(
    "answer", [None, subprocess.CompletedProcess([], 9, stdout="no devices", stderr="")]
)
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(doctor, "_run", lambda *command: answer)
    assert doctor.find_gpu().state == "absent"


def test_the_data_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FALCONER_DATA_MIRROR", raising=False)
    assert doctor.find_data_mirror().state == "absent"
    monkeypatch.setenv("FALCONER_DATA_MIRROR", str(tmp_path / "nowhere"))
    assert doctor.find_data_mirror().state == "absent"
    monkeypatch.setenv("FALCONER_DATA_MIRROR", str(tmp_path))
    (tmp_path / "ml-1m.zip").touch()
    assert doctor.find_data_mirror() == Finding("ok", f"data mirror: ml-1m.zip in {tmp_path}")


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "free")
    for free, state in ((3e9, "ok"), (1e9, "absent")):
        monkeypatch.setattr("shutil.disk_usage", lambda folder, free=free: usage(free))
        assert doctor.find_disk(tmp_path).state == state


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([Finding("ok", "a"), Finding("absent", "b", "make b")], 0),
        ([Finding("ok", "a"), Finding("broken", "c", "make c")], 2),
    ],
)
def test_the_exit_code(
    findings: list[Finding],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "_findings", lambda: iter(findings))
    ended = 0
    try:
        doctor.doctor()
    except typer.Exit as end:
        ended = end.exit_code
    assert ended == code
    assert f"mend: {findings[1].remedy}" in capsys.readouterr().out
