"""A PostgreSQL server for tests, by `scripts/postgres`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "postgres"
NOT_INSTALLED = 3


@dataclass(frozen=True)
class Server:
    """A server on 127.0.0.1, and the folder of its data."""

    folder: Path
    port: int

    def start(self) -> str:
        """Start it, or start it again; returns its database's URL. Skips where PostgreSQL is not
        installed."""
        command = [SCRIPT, "start", self.folder, str(self.port)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == NOT_INSTALLED:
            pytest.skip(found.stderr)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    def stop(self) -> None:
        """End it at once, as a crash would."""
        subprocess.run([SCRIPT, "stop", self.folder], check=True, capture_output=True)


@contextmanager
def server() -> Iterator[Server]:
    """A server that is not yet started. Its folder is outside of pytest's, which only its owner can
    enter."""
    folder = Path(tempfile.mkdtemp(prefix="falconer-postgres-", dir="/tmp"))
    folder.rmdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Server(folder, port)
    try:
        yield found
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
