"""`falconer ui`: MLflow on this machine only, and gone after Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from falconer.pipelines import runs
from falconer.pipelines.errors import PipelineError
from falconer.workflows import ui as module
from falconer.workflows.ui import ui

SECONDS_TO_START = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[str]) -> bytes:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {url} in {SECONDS_TO_START} s")


def search(port: int) -> str:
    """What MLflow answers when asked for its experiments."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 10}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.read().decode())


def test_runs_are_shown_until_ctrl_c(tmp_path: Path) -> None:
    with runs.start(
        tmp_path / "runs", model="ease", backend="numpy", config={}, dataset_path="data/shop/d1"
    ):
        pass
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "falconer.workflows.cli",
        "ui",
        "--runs",
        "runs",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "FALCONER_TRACKING": "on"}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert wait_for(f"http://127.0.0.1:{port}/health", process) == b"OK"
            assert '"shop/d1"' in search(port)
        finally:
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"1 runs of runs are at http://127.0.0.1:{port}" in out
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health")


def test_a_killed_ui_leaves_no_server_behind(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    port = free_port()
    command = [sys.executable, "-P", "-m", "falconer.workflows.cli", "ui", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert wait_for(f"http://127.0.0.1:{port}/health", process) == b"OK"
        finally:
            process.kill()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return
            time.sleep(0.2)
    pytest.fail("the server is still there a minute after its parent was killed")


def test_no_folder_of_runs(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such folder"):
        ui(tmp_path / "absent", 5000)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PipelineError, match=r"is taken.*--port"):
            ui(tmp_path, taken.getsockname()[1])


def test_with_a_server_elsewhere_runs_are_only_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(*_: object) -> None:
        pytest.fail("no page of our own is served")

    monkeypatch.setenv("FALCONER_TRACKING", "http://127.0.0.1:9")
    monkeypatch.setattr(module, "_mirror_all", lambda _: 3)
    monkeypatch.setattr(module, "_serve", serve)
    module.ui(tmp_path, 0)
    assert capsys.readouterr().out == f"3 runs of {tmp_path} are at http://127.0.0.1:9\n"
