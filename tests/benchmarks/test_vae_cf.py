"""VAE-CF's speed beside RecBole's MultiVAE. Figures are printed, never asserted."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from falconer.pipelines import runs, stages
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.events import TrainEvents
from falconer.recsys.backends.torch.item_sets.batches import ProfileBatches, train_profiles
from falconer.recsys.models.vae_cf import on_torch
from falconer.recsys.models.vae_cf.config import VaeCfConfig, VaeCfTraining
from tests.benchmarks.recbole_peer import started_peer
from tests.benchmarks.small import recipe_of, sized

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(3600)]

ROUNDS = sized(5, 1)
OURS = VaeCfConfig(
    hidden=(600,),
    dim=64,
    dropout=0.5,
    batch_size=sized(500, 8),
    training=VaeCfTraining(epochs=1, monitor=None, patience=None, device="cpu"),
)
RECBOLE = {
    "model": "MultiVAE",
    "batches": 10**6,  # a round is an epoch
    "train_batch_size": OURS.batch_size,
    "train_neg_sample_args": None,
    "mlp_hidden_size": list(OURS.hidden),
    "latent_dimension": 2 * OURS.dim,  # RecBole counts means and variances
    "dropout_prob": OURS.dropout,
    "anneal_cap": OURS.anneal_cap,
    "total_anneal_steps": OURS.anneal_steps,
}


class Ours:
    """Our Mult-VAE in our loop: a round is an epoch, as a fit of its own on the same weights."""

    def __init__(self, data: Dataset, root: Path, *, threads: int) -> None:
        self.root, self.rounds = root, 0
        self.training = OURS.training.model_copy(update={"threads": threads})
        profiles = train_profiles(
            TrainEvents(data),
            n_users=data.n_users,
            n_items=data.n_items,
            device=torch.device("cpu"),
        )
        self.task = on_torch.VaeCfTask(
            weights.seeded(lambda: on_torch.VaeCf(data.n_items, OURS), OURS.seed),
            ProfileBatches(profiles, batch_size=OURS.batch_size, seed=0),
            lambda scorer: {},  # type: ignore[arg-type]
            np.zeros(data.n_items, np.float32),
            OURS,
        )

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.task.model.parameters())

    def samples_per_second(self) -> float:
        self.rounds += 1
        with runs.start(
            self.root, model="vae_cf", backend="torch", config={}, run_id=str(self.rounds)
        ) as run:
            return fit(self.task, self.training, run).samples_per_second


def gemm_flops(users: int, n_items: int) -> float:
    """Multiplications and additions of a step in the layers after the first: three products a
    layer, of which the first gives the values and the others the gradients."""
    hidden = 600 * 2 * OURS.dim + OURS.dim * 600
    return 3 * 2 * users * (hidden + 600 * n_items)


def gemm_per_second(users: int, n_items: int, threads: int) -> float:
    """What torch's product alone reaches at the size of the last layer, into memory that is there
    already."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b, into = torch.randn(users, 600), torch.randn(600, n_items), torch.zeros(users, n_items)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(a, b, out=into)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return 2 * users * 600 * n_items / statistics.median(times)


@pytest.mark.parametrize("threads", sized([1, 2], [1]))
def test_users_per_second_beside_recbole(
    threads: int, data_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same data, architecture, batch and optimiser; rounds alternate, and each waits for the
    other's."""
    recipe = stages.load_recipe(recipe_of("ml-1m-ncf", tmp_path))
    data = Dataset.open(stages.etl(recipe, tmp_path / "data"))
    ours = Ours(data, tmp_path / "runs", threads=threads)
    with started_peer(data, tmp_path, RECBOLE, threads=threads) as peer:
        # RecBole's padding is a user of its own.
        pairs = [
            (ours.samples_per_second(), peer.samples_per_second(data.n_users + 1))
            for _ in range(ROUNDS + 1)
        ][1:]
    own = statistics.median(a for a, _ in pairs)
    share = (
        own * gemm_flops(1, data.n_items) / gemm_per_second(OURS.batch_size, data.n_items, threads)
    )
    with capsys.disabled():
        print(
            f"\nMult-VAE {data.n_items}-600-{OURS.dim}-600 on ML-1M, {threads} threads each, "
            "users a second\n"
            f"  rounds of an epoch of {data.n_users} users in batches of {OURS.batch_size}, after "
            "one to warm up\n"
            f"  parameters: ours {ours.parameters:,}, RecBole {peer.parameters:,} (with an item "
            "for padding)"
        )
        for a, b in pairs:
            print(f"  ours {a:8,.0f}   RecBole 1.2.1 {b:8,.0f}   ratio {a / b:6.2f}")
        print(
            f"  median ratio {statistics.median(a / b for a, b in pairs):.2f}; ours is at "
            f"{share:.0%} of what torch's "
            "products alone would allow"
        )
