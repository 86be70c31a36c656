"""A user who may write neither into the installed package nor into the home: batch jobs in
containers often run as one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.small_commands import write_source

FALCONER = str(Path(sys.executable).with_name("falconer"))
NOBODY = 65534
READ_ALL = "-all,+dac_read_search"
"""The interpreter may lie in the home of root: it is read, and nothing there is written."""


def as_nobody() -> list[str]:
    """The prefix that makes a command that of another user; none for who is not root, and so is a
    user of limited rights already."""
    if os.geteuid() != 0:
        return []
    assert shutil.which("setpriv"), "this test needs setpriv (package util-linux)"
    capabilities = [f"--{kind}={READ_ALL}" for kind in ("bounding-set", "inh-caps", "ambient-caps")]
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return ["setpriv", *user, *capabilities]


def test_commands_work_where_only_the_working_folder_can_be_written(tmp_path: Path) -> None:
    write_source(tmp_path)
    if prefix := as_nobody():
        for path in (tmp_path, *tmp_path.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        for folder in (tmp_path.parent, tmp_path.parent.parent):
            folder.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    environment = {**kept, "HOME": "/nonexistent", "TMPDIR": str(tmp_path)}

    def falconer(*arguments: str) -> str:
        found = subprocess.run(
            [*prefix, FALCONER, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        return found.stdout.split()[-1]

    data = falconer("etl", "t.toml")
    run = falconer("train", "ease", "--data", data)
    falconer("recommend", run)
    assert list((tmp_path / run).glob("*/recommendations.parquet"))
