"""Speed of DLRM and Wide & Deep beside merlin-models' own `fit`. Figures are printed, never
asserted."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, fields_of
from falconer.recsys.backends.torch.pairs.training import FieldTask, initial, material_of
from falconer.recsys.configs.pairs import PairsConfig, PairsTraining
from falconer.recsys.configs.tables import TablesConfig
from falconer.recsys.models.dlrm import on_torch as dlrm
from falconer.recsys.models.dlrm.config import DlrmConfig
from falconer.recsys.models.wide_deep import on_torch as wide_deep
from falconer.recsys.models.wide_deep.config import WideDeepConfig
from tests.benchmarks import unmeasured
from tests.benchmarks.random_data import N_NUMBERS, SIZES, click_logs
from tests.benchmarks.small import NO_PEER, SMALL, sized

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(3600)]

HERE = Path(__file__).parent
ROWS, BATCH, ROUNDS, THREADS = sized(204_800, 512), sized(4096, 128), sized(5, 1), 2
CATEGORIES = sized(SIZES, SIZES[:4])
DIM, BOTTOM, TOP = 16, (64,), (128, 64)
LEARNING_RATE = 1e-3
TABLES = {"adam": TablesConfig(), "adagrad": TablesConfig(gradients="sparse")}
"""Of ours: with Adam every weight has its step, with Adagrad the tables' rows have row-wise
Adagrad's."""


def config_of(model: str, optimizer: str) -> PairsConfig:
    training = PairsTraining(
        epochs=1,
        monitor=None,
        patience=None,
        device="cpu",
        optimizer=optimizer,  # type: ignore[arg-type]
        learning_rate=LEARNING_RATE,
        threads=THREADS,
    )
    common: dict[str, Any] = {
        "dim": DIM,
        "tables": TABLES[optimizer],
        "batch_size": BATCH,
        "training": training,
    }
    if model == "dlrm":
        return DlrmConfig(bottom_hidden=BOTTOM, hidden=TOP, **common)
    return WideDeepConfig(hidden=TOP, **common)


@dataclass(frozen=True)
class Round:
    """What a round took; CPU seconds of all threads say more than seconds where others use the
    machine too."""

    seconds: float
    cpu_seconds: float


class Ours:
    """Our model in our loop: a round is an epoch, as a fit of its own on the same weights."""

    def __init__(self, model: str, config: PairsConfig, data: Dataset, root: Path) -> None:
        self.config, self.root, self.rounds = config, root, 0
        fields = fields_of(data, None, model=model)
        encoder = FieldEncoder(fields, data, torch.device("cpu"))
        build = {"dlrm": dlrm.Dlrm, "wide_deep": wide_deep.WideDeep}[model]
        network = initial(lambda inputs: build(inputs, config), fields, 0)  # type: ignore[operator]
        self.task = FieldTask(
            network, material_of(config, data, encoder).batches, encoder, lambda: {}
        )

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.task.model.parameters())

    def round(self) -> Round:
        self.rounds += 1
        with runs.start(
            self.root, model="ours", backend="torch", config={}, run_id=str(self.rounds)
        ) as run:
            cpu = time.process_time()
            result = fit(self.task, self.config.training, run)
            assert result.samples == ROWS
            return Round(ROWS / result.samples_per_second, time.process_time() - cpu)


class Peer:
    """merlin-models in a process of its own, which waits between rounds."""

    def __init__(self, process: subprocess.Popen[str], first: str) -> None:
        self.process = process
        self.parameters = int(json.loads(first)["parameters"])

    def round(self) -> Round:
        assert self.process.stdin is not None
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        found = self._answer()
        assert found["samples"] == ROWS
        return Round(found["seconds"], found["cpu_seconds"])

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))


class NoPeer(unmeasured.Absent):
    """In its place, where it is not there."""

    def round(self) -> Round:
        return Round(math.nan, math.nan)


@contextmanager
def started_peer(
    model: str, optimizer: str, data: Dataset, folder: Path
) -> Iterator[Peer | NoPeer]:
    """merlin-models with `data` in memory, ended with the block; what it says goes to
    `errors.txt`."""
    if SMALL or importlib.util.find_spec("merlin") is None:
        unmeasured.note("merlin-models", NO_PEER if SMALL else "it is not installed")
        yield NoPeer()
        return
    config = {
        "model": model,
        "optimizer": optimizer,
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH,
        "dim": DIM,
        "bottom": BOTTOM,
        "top": TOP,
        "sizes": {f"C{number}": size for number, size in enumerate(CATEGORIES, start=1)},
        "numbers": [f"I{number}" for number in range(1, N_NUMBERS + 1)],
        "rows": str(data.path / "train/part-00000.parquet"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        "-W",
        "ignore",
        HERE / "peers/merlin_labels.py",
        folder / "config.json",
    ]
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(THREADS)
    )
    environment = os.environ | limits | {"PYTHONPATH": str(HERE.parent.parent)}
    pipe = subprocess.PIPE
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, stdin=pipe, stdout=pipe, stderr=errors, env=environment, text=True
        ) as process,
    ):
        assert process.stdout is not None
        if first := process.stdout.readline():
            yield Peer(process, first)
        else:
            unmeasured.note_ended("merlin-models", folder / "errors.txt")
            yield NoPeer()
        process.kill()


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("model", ["dlrm", "wide_deep"])
def test_samples_per_second_beside_merlin_models(
    model: str, optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same rows, architecture, batch and optimiser; rounds alternate, and each waits for the
    other's."""
    data = click_logs(tmp_path / "data", n_rows=ROWS, sizes=CATEGORIES)
    ours = Ours(model, config_of(model, optimizer), data, tmp_path / "runs")
    with started_peer(model, optimizer, data, tmp_path) as peer:
        pairs = [(ours.round(), peer.round()) for _ in range(ROUNDS + 1)][1:]
    with capsys.disabled():
        print(
            f"\n{model} with {optimizer} on rows like Criteo's, {THREADS} threads each, samples a "
            "second",
            f"  a round is {ROWS:,} rows in batches of {BATCH}, after one round to warm up",
            f"  parameters: ours {ours.parameters:,}, merlin-models {peer.parameters:,}",
            *(line(a, b) for a, b in pairs),
            f"  median ratio {statistics.median(b.seconds / a.seconds for a, b in pairs):.2f}, of "
            "CPU seconds "
            f"{statistics.median(b.cpu_seconds / a.cpu_seconds for a, b in pairs):.2f}",
            sep="\n",
        )


def line(ours: Round, peer: Round) -> str:
    return (
        f"  ours {ROWS / ours.seconds:10,.0f}   merlin-models 23.12 {ROWS / peer.seconds:10,.0f}   "
        f"ratio {peer.seconds / ours.seconds:5.2f}   CPU seconds {ours.cpu_seconds:6.2f} and "
        f"{peer.cpu_seconds:6.2f}"
    )
