"""An MLflow server that is away costs one line and a moment, whatever waits for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from falconer.pipelines import model_versions, runs, tracking, tracking_server
from falconer.pipelines.runs import Run
from falconer.pipelines.tracking_server import ServerAwayError


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as soon_gone:
        return int(soon_gone.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with runs.start(tmp_path, model="ease", backend="numpy", config={}) as found:
        return found


def test_a_server_that_is_down_is_named_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("FALCONER_TRACKING", url)
    started = time.monotonic()
    tracking.mirror(run.path)
    assert time.monotonic() - started < 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        f"is not mirrored to MLflow: {url} does not answer: [Errno 111] Connection refused"
    )
    with pytest.raises(ServerAwayError):
        model_versions.aliases(run.path.parent, "shop")
    assert not (run.path.parent / tracking.DATABASE).exists(), "no file beside the runs instead"


def test_a_server_that_hangs_is_given_up(
    run: Run, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FALCONER_TRACKING", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(tracking_server, "SECONDS_TO_ANSWER", 0.2)
    tracking.mirror(run.path)
    assert "does not answer: timed out" in capsys.readouterr().err


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    url = f"http://me:secret@127.0.0.1:{closed_port()}"
    with pytest.raises(ServerAwayError) as caught:
        tracking_server.refuse_silence(url)
    assert "secret" not in str(caught.value)
    assert "write http://127.0.0.1:" in str(caught.value)
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("on", None),
        ("off", None),
        ("HTTP://127.0.0.1:5000", "HTTP://127.0.0.1:5000"),
        ("https://mlflow.example/tracking/", "https://mlflow.example/tracking"),
    ],
)
def test_only_a_url_is_a_server(
    value: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FALCONER_TRACKING", value)
    assert tracking_server.address() == expected
