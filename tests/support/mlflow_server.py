"""A real `mlflow server` on loopback, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from falconer.pipelines import tracking, tracking_server
from falconer.workflows.ui import QUIET_SERVER

SECONDS_TO_START = 180
"""Its database is made in some hundred steps."""


class MlflowServer:
    """The server over one folder, always on the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, or would be."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers; `AssertionError` where it does not."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", "sqlite:///mlflow.db"]
        command += ["--artifacts-destination", "artifacts"]
        environment = {**os.environ, **tracking.ENVIRONMENT, **QUIET_SERVER}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def _answers(self) -> bool:
        with suppress(tracking_server.ServerAwayError):
            tracking_server.refuse_silence(self.url)
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes: SIGSTOP lets it hang."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End all its processes at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
