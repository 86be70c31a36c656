"""Runs `falconer` commands with a fault before the n-th change of a file.

`Forge` is a process that has imported everything once and forks for each command: so a point of a
sweep takes a fraction of a second. The network is refused, and asking for it is seen. A change is
what Python's audit events show below the folder:
a file opened for writing, a rename, a removal, a folder made.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Kind = Literal["none", "kill", "full disk", "no memory"]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
TAKES_SPACE = {"open", "os.mkdir", "os.rename"}
"""Where a full disk or exhausted memory may show."""
NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (-9: killed), what it printed, and its changes of
    files."""

    code: int
    out: str
    err: str
    changes: tuple[str, ...]

    @property
    def last_line(self) -> str:
        """The path that the command wrote."""
        return self.out.strip().splitlines()[-1]


class Forge:
    """The process that forks; end it as a context manager."""

    def __enter__(self) -> Self:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "from tests.support.faults import serve; serve()",
        ]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "FALCONER_TRACKING": "off"},
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(
        self, folder: Path, arguments: Sequence[str], kind: Kind = "none", at: int = 0
    ) -> Ended:
        """`falconer arguments` in `folder`, with the fault before its `at`-th change (from 1)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"folder": str(folder), "arguments": list(arguments), "kind": kind, "at": at}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(**{**answer, "changes": tuple(answer["changes"])})


def serve() -> None:
    """Read orders from standard input and answer each with a line, until it is closed."""
    import falconer.recsys

    for module in pkgutil.walk_packages(falconer.recsys.__path__, "falconer.recsys."):
        if "tensorflow" not in module.name and "implicit" not in module.name:
            importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(asdict(_forked(**order))), flush=True)


def _forked(folder: str, arguments: list[str], kind: Kind, at: int) -> Ended:
    with tempfile.TemporaryDirectory() as kept:
        out, err, log = (Path(kept) / name for name in ("out", "err", "log"))
        for path in (out, err, log):
            path.touch()
        child = os.fork()
        if child == 0:
            _be_command(folder, arguments, _fault(folder, log, kind, at), out, err)
        _, status = os.waitpid(child, 0)
        changes = tuple(log.read_text().splitlines())
        return Ended(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text(), changes)


def _be_command(folder: str, arguments: list[str], fault: Any, out: Path, err: Path) -> None:
    """Never returns."""
    from falconer.workflows import cli

    code = 99
    with contextlib.suppress(BaseException):
        for path, descriptor in ((out, 1), (err, 2)):
            opened = os.open(path, os.O_WRONLY)
            os.dup2(opened, descriptor)
        scratch = Path(folder) / "tmp"
        scratch.mkdir(exist_ok=True)
        tempfile.tempdir = str(scratch)
        os.environ["TMPDIR"] = str(scratch)
        os.chdir(folder)
        sys.addaudithook(fault)
        code = cli.run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _fault(folder: str, log: Path, kind: Kind, at: int) -> Callable[[str, tuple[Any, ...]], None]:
    descriptor, seen = os.open(log, os.O_WRONLY | os.O_APPEND), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in NETWORK:
            os.write(descriptor, f"{event} {arguments[1:]}\n".encode())
            raise PermissionError(errno.EACCES, "the network is not to be used")
        path = _changed(event, arguments)
        if path is None or not (Path(folder) / path).is_relative_to(folder):
            return
        seen += 1
        os.write(descriptor, f"{event} {os.path.relpath(path, folder)}\n".encode())
        if seen != at:
            return
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if event in TAKES_SPACE and kind == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if event in TAKES_SPACE and kind == "no memory":
            raise MemoryError

    return hook


def _changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path that an audit event is about to change; None where it changes none."""
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, str | bytes | os.PathLike) or not flags & WRITING:
            return None
        return os.fsdecode(path)
    if event not in CHANGES or isinstance(arguments[0], int):
        return None
    return os.fsdecode(arguments[0])


def each_whole(folder: Path, n: int) -> Iterator[int]:
    """0 to n - 1; behind each the folder is again what it was at first."""
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    for number in range(n):
        yield number
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    shutil.rmtree(kept)
