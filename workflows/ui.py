"""`falconer ui`: every run in MLflow, on this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from subprocess import Popen

SECONDS_TO_END = 20

QUIET_SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
"""No pool of idle job processes, and no warnings about MLflow's own dependencies."""


def ui(
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
) -> None:
    """Mirror the runs that MLflow does not have yet, and show MLflow until Ctrl-C. With a server in
    FALCONER_TRACKING only mirror them there.

    Example: falconer ui --runs runs --port 5000
    """
    from falconer.pipelines import tracking_server
    from falconer.pipelines.console import say

    _check(runs, port)
    n_runs = _mirror_all(runs)
    if (server := tracking_server.address()) is not None:
        say(f"{n_runs} runs of {runs} are at {tracking_server.without_password(server)}")
        return
    say(f"{n_runs} runs of {runs} are at http://127.0.0.1:{port} (Ctrl-C ends it)")
    _serve(runs, port)


def _check(runs: Path, port: int) -> None:
    """Raises `PipelineError` where there is no such folder or the port is taken."""
    import socket
    from importlib.util import find_spec

    from falconer.pipelines.errors import PipelineError
    from falconer.pipelines.extras import missing

    if find_spec("mlflow") is None:
        raise missing("mlflow", "falconer ui")
    if not runs.is_dir():
        raise PipelineError(
            f"{runs}: no such folder; `falconer train` makes it, or name yours with --runs"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PipelineError(
                f"port {port} is taken ({error.strerror}); choose another with --port"
            ) from error


def _mirror_all(runs: Path) -> int:
    """Mirror each run directory below `runs`; returns their number.

    In a process of its own: MLflow imports Polars, after which Ctrl-C does not interrupt a wait for
    the server.
    """
    import subprocess
    import sys

    from falconer.pipelines.console import warn
    from falconer.pipelines.runs import RUN_FILE

    paths = [str(path.parent) for path in sorted(runs.glob(f"*/{RUN_FILE}"))]
    command = [sys.executable, "-P", "-m", "falconer.pipelines.tracking", *paths]
    if code := subprocess.run(command, check=False).returncode:
        warn(f"warning: the mirroring ended with exit code {code}; MLflow may lack some runs")
    return len(paths)


def _serve(runs: Path, port: int) -> None:
    """Run MLflow's server until it ends or Ctrl-C; raises `PipelineError` where it does not
    start."""
    import os
    import subprocess
    import sys

    from falconer.pipelines import tracking
    from falconer.pipelines.errors import PipelineError

    environment = {**os.environ, **tracking.ENVIRONMENT, **QUIET_SERVER}
    # A session of its own: MLflow's server is several processes, and Ctrl-C must end them in order
    # and in silence.
    # The folder is this Python's own, since its web server loads modules from where it is started.
    server = subprocess.Popen(
        _server_command(runs, port),
        env=environment,
        cwd=sys.prefix,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        code = server.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        _end(server)
    if code != 0:
        raise PipelineError(
            f"MLflow's server ended with exit code {code}: its own lines above say why"
        )


def _end_with_parent() -> None:
    """Let Linux end this process when the one that started it is gone, even killed."""
    import ctypes
    import signal

    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def _end(server: Popen[bytes]) -> None:
    """End the server in order, and in the end every process of its session, whatever comes."""
    import os
    import signal
    from contextlib import suppress
    from subprocess import TimeoutExpired

    try:
        if server.poll() is None:
            server.terminate()  # which it passes on to its children
            with suppress(TimeoutExpired):
                server.wait(SECONDS_TO_END)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _server_command(runs: Path, port: int) -> list[str]:
    import sys

    from falconer.pipelines import tracking

    server = [
        sys.executable,
        "-P",
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    stores = ["--backend-store-uri", tracking.store_uri(runs)]
    artifacts = ["--default-artifact-root", tracking.artifact_root(runs).as_uri()]
    return [*server, *stores, *artifacts, "--uvicorn-opts", "--log-level=warning"]
