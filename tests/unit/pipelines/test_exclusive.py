"""A folder that belongs to one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exclusive import exclusive, in_turn

BUSY = ArtifactError("somebody else is at it")
HOLD = """
import sys, time
from pathlib import Path
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exclusive import exclusive
with exclusive(Path(sys.argv[1]), ArtifactError("never")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ArtifactError, match="somebody else"), exclusive(folder, BUSY):
            pass
        other.kill()
    with exclusive(folder, BUSY):
        pass
    with exclusive(folder, BUSY):
        pass


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(ArtifactError, match=r"cannot lock it \(No locks available\)"),
        exclusive(tmp_path, BUSY),
    ):
        pass


@pytest.mark.parametrize("exists", [True, False], ids=["file", "folder"])
def test_what_another_user_owns_is_named_with_its_owner(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "changes.lock"
    if exists:
        file.touch()
    place = file if exists else tmp_path

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "owner", lambda _: "nightly")
    with (
        pytest.raises(ArtifactError, match=rf"{place.name}: only nightly can write there"),
        in_turn(file),
    ):
        pass
