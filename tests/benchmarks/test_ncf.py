"""NCF's speed beside RecBole's, and its memory on a dataset that is streamed. Figures are printed,
never asserted."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from falconer.pipelines import runs, stages
from falconer.pipelines.data.dataset import Dataset, checksums, write_card
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.events import TrainEvents, item_counts
from falconer.recsys.backends.torch.negatives import negative_batches
from falconer.recsys.models.ncf.config import NcfConfig, NcfTraining
from falconer.recsys.models.ncf.on_torch.network import Ncf
from falconer.recsys.models.ncf.on_torch.tasks import NcfTask
from tests.benchmarks.measured import measure
from tests.benchmarks.recbole_peer import started_peer
from tests.benchmarks.small import recipe_of, sized
from tests.support.datasets import write_dataset

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(3600)]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BATCHES, ROUNDS = sized(100, 2), sized(5, 1)
OURS = NcfConfig(
    dim=64,
    mlp_dim=64,
    hidden=(64, 32, 16),
    batch_size=sized(1024, 64),
    n_negatives=4,
    training=NcfTraining(epochs=1, monitor=None, patience=None, device="cpu"),
)
PAIRS = OURS.batch_size * (1 + OURS.n_negatives)
RECBOLE = {
    "model": "NeuMF",
    "batches": BATCHES,
    "train_neg_sample_args": {
        "distribution": "uniform",
        "sample_num": OURS.n_negatives,
        "alpha": 1.0,
        "dynamic": False,
        "candidate_num": 0,
    },
    "train_batch_size": PAIRS,  # RecBole counts the negatives in
    "mf_embedding_size": OURS.dim,
    "mlp_embedding_size": OURS.mlp_dim,
    "mlp_hidden_size": list(OURS.hidden),
    "dropout_prob": 0.0,
    "mf_train": True,
    "mlp_train": True,
    "use_pretrain": False,
}


LARGE = sized(
    {"n_rows": 50_000_000, "n_users": 500_000, "n_items": 50_000},
    {"n_rows": 2000, "n_users": 50, "n_items": 20},
)


def show(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        print("\n" + "\n".join(lines))


class FirstBatches:
    """The first batches of an epoch."""

    def __init__(self, inner: Any, batches: int) -> None:
        self.inner, self.batches = inner, batches

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Any]:
        return islice(self.inner.epoch(number, start=start), self.batches - start)


class Ours:
    """Our NeuMF in our loop: a round is the first batches of an epoch, as a fit of its own on the
    same weights."""

    def __init__(self, data: Dataset, root: Path, *, threads: int) -> None:
        self.root, self.rounds = root, 0
        self.training = OURS.training.model_copy(update={"threads": threads})
        events = TrainEvents(data)
        counts = item_counts(events, data.n_items)
        batches = negative_batches(
            OURS, events, counts, n_users=data.n_users, device=torch.device("cpu")
        )
        self.task = NcfTask(
            weights.seeded(lambda: Ncf(data.n_users, data.n_items, OURS), OURS.seed),
            FirstBatches(batches, BATCHES),  # type: ignore[arg-type]
            lambda scorer: {},  # type: ignore[arg-type]
            counts.astype(np.float32),
        )

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.task.model.parameters())

    def samples_per_second(self) -> float:
        self.rounds += 1
        with runs.start(
            self.root, model="ncf", backend="torch", config={}, run_id=str(self.rounds)
        ) as run:
            return fit(self.task, self.training, run).samples_per_second


@pytest.mark.parametrize("threads", sized([1, 2], [1]))
def test_samples_per_second_beside_recbole(
    threads: int, data_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same data, architecture, batch, negatives and optimiser; rounds alternate, and each waits for
    the other's."""
    recipe = stages.load_recipe(recipe_of("ml-1m-ncf", tmp_path))
    data = Dataset.open(stages.etl(recipe, tmp_path / "data"))
    ours = Ours(data, tmp_path / "runs", threads=threads)
    with started_peer(data, tmp_path, RECBOLE, threads=threads) as peer:
        pairs = [
            (ours.samples_per_second(), peer.samples_per_second(BATCHES * PAIRS))
            for _ in range(ROUNDS + 1)
        ][1:]
    show(
        capsys,
        f"NeuMF on ML-1M, {threads} threads each, pairs of user and item a second",
        f"  {BATCHES} batches of {PAIRS} pairs a round, after one round to warm up",
        f"  parameters: ours {ours.parameters:,}, RecBole {peer.parameters:,} (with a row for "
        "padding in each table)",
        *(f"  ours {a:10,.0f}   RecBole 1.2.1 {b:10,.0f}   ratio {a / b:6.2f}" for a, b in pairs),
        f"  median ratio {statistics.median(a / b for a, b in pairs):.2f}",
    )


def test_the_papers_protocol(
    data_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe that is kept, by the commands that a person would type; the paper's NeuMF without
    pretraining has HR@10 0.705 and NDCG@10 0.426 with 64 factors."""
    data = measure(
        "etl",
        recipe_of("ml-1m-ncf", tmp_path),
        "--set",
        sized("split.valid_last=false", "split.valid_events=0"),
        "--out",
        str(tmp_path / "data"),
        folder=tmp_path,
    ).last_line
    trained = measure(
        "train", "ml-1m-ncf/ncf", "--data", data, "--runs", str(tmp_path / "runs"), folder=tmp_path
    )
    measure("recommend", trained.last_line, folder=tmp_path)
    measure("evaluate", trained.last_line, folder=tmp_path)
    metrics = json.loads((Path(trained.last_line) / "novel" / "report.json").read_text())["metrics"]
    show(
        capsys,
        f"NeuMF on ML-1M, 99 given negatives: HR@10 {metrics['hit_rate@10']['mean']:.4f}, "
        f"NDCG@10 {metrics['ndcg@10']['mean']:.4f}; train command {trained.seconds:.0f} s, "
        f"{trained.peak_mb:,.0f} MB",
    )


def large_dataset(root: Path, *, n_rows: int, n_users: int, n_items: int) -> Path:
    """Random events with popularity like 1 / sqrt(rank), written by row groups of a million."""
    small = write_dataset(root, train=[(0, 0, 0)], n_users=n_users, n_items=n_items, folds={})
    rng = np.random.default_rng(0)
    schema = pa.schema({"user": pa.int32(), "item": pa.int32(), "ordinal": pa.int64()})
    with pq.ParquetWriter(root / "train/part-00000.parquet", schema, compression="zstd") as writer:
        for start in range(0, n_rows, 10**6):
            n = min(10**6, n_rows - start)
            columns = {
                "user": rng.integers(0, n_users, n, dtype=np.int32),
                "item": (n_items * rng.random(n) ** 2).astype(np.int32),
                "ordinal": np.arange(start, start + n),
            }
            writer.write_table(pa.table(columns, schema=schema))
    card = small.card.model_copy(
        update={"content": checksums(root), "counts": {"train_events": n_rows}}
    )
    write_card(root, card)
    return root


def test_memory_of_an_epoch_over_50_million_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = large_dataset(tmp_path / "large", **LARGE)
    command = [sys.executable, str(HERE / "peers/ncf_epoch.py"), str(data), str(tmp_path / "runs")]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    found = json.loads(child.stdout.splitlines()[-1])
    show(
        capsys,
        f"an epoch of GMF over {found['rows']:,} rows, streamed: {found['seconds']:.0f} s, "
        f"peak {found['peak_mb']:,.0f} MB",
    )
