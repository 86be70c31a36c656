"""Several processes train like one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.runs import Run
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.pipelines.training.torch import fit
from tests.support.small_training import FORKS, Regression, new_run, plain, train, weights

KNOBS: dict[str, Any] = {
    "epochs": 3,
    "clip_norm": 0.5,
    "ema_decay": 0.5,
    "monitor": "error",
    "mode": "min",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def member(rank: int, port: int, path: Path, knobs: dict[str, Any], stop_at: int) -> None:
    """One of two processes, as `torchrun` starts them."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    assert current_shard() == Shard(rank, 2)
    task = Regression(dropout=0, kill_at=stop_at)
    fit(task, plain(**knobs), Run.open(path))
    (path / f"weights-{rank}").write_bytes(weights(task))


def together(path: Path, knobs: dict[str, Any], *, stop_at: int = 0) -> list[int | None]:
    port = free_port()
    processes = [
        FORKS.Process(target=member, args=(rank, port, path, knobs, stop_at)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_give_the_curve_of_one(accumulate: int, tmp_path: Path) -> None:
    knobs = {**KNOBS, "accumulate": accumulate}
    alone = Regression(dropout=0)
    _, expected = train(alone, plain(**knobs), tmp_path)
    run = new_run(tmp_path)
    assert together(run.path, knobs) == [0, 0]
    lines = run.read_lines("metrics.jsonl")
    assert len(lines) == len(expected) == 3
    for ours, theirs in zip(lines, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    first, second = ((run.path / f"weights-{rank}").read_bytes() for rank in range(2))
    assert first == second
    np.testing.assert_allclose(
        np.frombuffer(first, np.float32), np.frombuffer(weights(alone), np.float32), atol=1e-5
    )


def test_two_processes_go_on_where_they_were_killed(tmp_path: Path) -> None:
    whole, killed = new_run(tmp_path), new_run(tmp_path)
    knobs = {**KNOBS, "checkpoint_every": 4}
    assert together(whole.path, knobs) == [0, 0]
    assert together(killed.path, knobs, stop_at=15) == [-9, -9]
    assert together(killed.path, knobs) == [0, 0]
    for name in ("metrics.jsonl", "weights-0", "weights-1"):
        assert (killed.path / name).read_bytes() == (whole.path / name).read_bytes()


@given(st.integers(0, 100), st.integers(1, 9))
def test_the_shares_of_a_batch_are_the_whole_and_nearly_equal(n: int, world: int) -> None:
    shares = [list(range(n))[Shard(rank, world).rows(n)] for rank in range(world)]
    assert sorted(row for share in shares for row in share) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from falconer.pipelines.runs import Run\nfrom "
        "falconer.pipelines.training.torch import fit; from tests.support.small_training import "
        "Regression, plain\nfit(Regression(dropout=0), plain(epochs=3), "
        "Run.open(Path(sys.argv[1])))\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-port",
        str(free_port()),
    ]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(script), str(run.path)],
        env=environment,
        check=True,
        capture_output=True,
        cwd=root,
    )
    _, expected = train(Regression(dropout=0), plain(epochs=3), tmp_path)
    for ours, theirs in zip(run.read_lines("metrics.jsonl"), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
