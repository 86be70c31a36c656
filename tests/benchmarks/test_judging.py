"""How fast users are ranked and judged, beside other libraries in the same run, and in how much
memory.

Figures are printed, never asserted. Beside each wall-clock rate stands `cpu`: users over the
processor seconds spent, times the cores in use, which is about what cores of our own would give: it
does not know of others on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.recsys.judging.lists.relevance import found_in
from falconer.recsys.metrics import METRICS
from falconer.recsys.metrics.ranked import Ranked
from falconer.recsys.recommending import compiled as selection
from falconer.recsys.recommending.top_k import top_k
from tests.benchmarks import unmeasured
from tests.benchmarks.small import NO_PEER, SMALL, sized

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(3600)]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
N_USERS, N_ITEMS, DIM, K = sized(10_000, 600), sized(20_000, 2000), 64, 100
BLOCK = N_ITEMS // 200
"""Items are drawn one from each of 200 blocks, so that no list has one twice."""
CUT_OFFS = (1, 5, 10, 20, 50, 100)
LISTS, ROUNDS = sized(100_000, 600), sized(5, 1)


def _line(name: str, n: int, job: Callable[[], Any], cores: int = 2) -> str:
    """Users a second, by the wall clock and by the processor's, best of five after a first."""
    job()
    walls, cpus = [], []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        job()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return f"  {name:<58} {n / min(walls):>11,.0f}   cpu {cores * n / min(cpus):>11,.0f}"


def _peer(library: str, inputs: Path, cores: int = 2) -> str:
    """The same of a library in the environment that `make oracles` makes for it."""
    python = ROOT / "build" / "oracles" / library / "bin" / "python"
    if SMALL:
        return _not_measured(library, NO_PEER)
    if not python.exists():
        return _not_measured(library, "its environment is not there (make oracles)")
    command = [
        str(python),
        "-W",
        "ignore",
        str(HERE / "peers" / "judging.py"),
        library,
        str(inputs),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return _not_measured(library, f"it failed: {found.stderr.strip()[-200:]}")
    values = json.loads(found.stdout.strip().splitlines()[-1])
    n = len(np.load(inputs)["lists"])
    return (
        f"  {library:<58} {values['users_per_second']:>11,.0f}   cpu "
        f"{cores * n / values['cpu_seconds']:>11,.0f}"
    )


def _not_measured(library: str, reason: str) -> str:
    unmeasured.note(library, reason)
    return f"  {library}: not measured, {reason}"


class ByFactors:
    """A factor scorer of given factors, without bias."""

    def __init__(self, users: NDArray[np.float32], items: NDArray[np.float32]) -> None:
        self._users, self._items = users, items
        self.items_known = np.ones(len(items), np.bool_)

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        return self._users[queries.user], self._items, np.zeros(len(self._items), np.float32)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        raise NotImplementedError


def _truth(rng: np.random.Generator, n: int, size: int = 10) -> Ragged:
    items = np.argsort(rng.random((n, 200)), axis=1)[:, :size] * BLOCK + rng.integers(
        0, BLOCK, (n, size)
    )
    return Ragged(
        np.arange(n + 1, dtype=np.int64) * size, np.sort(items, axis=1).ravel().astype(np.int32)
    )


def _all_accuracy(items: NDArray[np.int32], truth: Ragged) -> dict[str, float]:
    ranked = Ranked(items, found_in(items, truth, N_ITEMS), truth.lengths)
    return {
        f"{name}@{k}": float(METRICS[name].function(ranked, k).mean())
        for name in METRICS
        for k in CUT_OFFS
    }


def _blocked_numpy(users: NDArray[np.float32], items: NDArray[np.float32], truth: Ragged) -> None:
    lists = []
    for start in range(0, len(users), 500):
        scores = users[start : start + 500] @ items.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        lists.append(np.take_along_axis(best, order, axis=1).astype(np.int32))
    _all_accuracy(np.concatenate(lists), truth)


def _implicit(
    users: NDArray[np.float32], items: NDArray[np.float32], truth: Ragged
) -> Callable[[], Any]:
    import scipy.sparse as sp
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
    from implicit.evaluation import ranking_metrics_at_k

    class Given(MatrixFactorizationBase):
        def __init__(self) -> None:
            super().__init__(num_threads=2)
            self.user_factors, self.item_factors = users, items

        def fit(self, *_: object, **__: object) -> None:
            raise NotImplementedError

        def save(self, *_: object) -> None:
            raise NotImplementedError

    shape = (len(users), len(items))
    train = sp.csr_matrix(shape, dtype=np.float32)
    test = sp.csr_matrix(
        (np.ones(len(truth.values), np.float32), truth.values, truth.offsets), shape
    )
    model = Given()
    return lambda: ranking_metrics_at_k(model, train, test, K=K, show_progress=False, num_threads=2)


def _products(users: NDArray[np.float32], items: NDArray[np.float32]) -> None:
    out = np.empty((512, len(items)), np.float32)
    for start in range(0, len(users) - 511, 512):
        np.matmul(users[start : start + 512], items.T, out=out)


def _scan(scores: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    for _ in range(10):
        selection.all_rankable(scores, bias)


def test_from_factors_to_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Must reach: 25,000 users a second on 2 cores."""
    rng = np.random.default_rng(0)
    users, items = (rng.standard_normal((n, DIM), dtype=np.float32) for n in (N_USERS, N_ITEMS))
    truth, queries = (
        _truth(rng, N_USERS),
        Queries(np.arange(N_USERS, dtype=np.int32), Ragged.of([[]] * N_USERS)),
    )
    scorer = ByFactors(users, items)
    lists = top_k(scorer, queries, n_items=N_ITEMS, k=K).items
    inputs = tmp_path / "inputs.npz"
    np.savez(
        inputs,
        users=users,
        items=items,
        lists=lists,
        truth_offsets=truth.offsets,
        truth_items=truth.values,
    )
    few = users[:512] @ items.T
    bias = np.zeros(N_ITEMS, np.float32)
    seen = Ragged(
        np.arange(N_USERS + 1, dtype=np.int64) * 100,
        rng.integers(0, N_ITEMS, N_USERS * 100, dtype=np.int32),
    )
    with_history = Queries(queries.user, seen)

    def ours() -> None:
        _all_accuracy(top_k(scorer, queries, n_items=N_ITEMS, k=K).items, truth)

    def novel() -> None:
        _all_accuracy(top_k(scorer, with_history, n_items=N_ITEMS, k=K, view="novel").items, truth)

    n_metrics = len(METRICS) * len(CUT_OFFS)
    lines = [
        f"{N_USERS:,} users x {N_ITEMS:,} items x {DIM}: top {K} and metrics, users a second "
        "(target 25,000)",
        _line(f"falconer, {n_metrics} metrics", N_USERS, ours),
        _line(f"falconer, {n_metrics} metrics, 100 items of history left out", N_USERS, novel),
        _line(
            f"numpy, blocks of 500, {n_metrics} metrics",
            N_USERS,
            lambda: _blocked_numpy(users, items, truth),
        ),
    ]
    with threadpool_limits(1, "blas"):
        lines.append(_line("implicit, its 4 metrics", N_USERS, _implicit(users, items, truth)))
    lines.append(_peer("irspack", inputs))
    lines.append(
        _line("the product alone", N_USERS - N_USERS % 512, lambda: _products(users, items))
    )
    lines.append(_line("one scan alone, on one core", 5120, lambda: _scan(few, bias), cores=1))
    _show(capsys, *lines)


def test_from_lists_to_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Must reach: 1,000,000 users a second on arrays of numbers."""
    rng = np.random.default_rng(0)
    truth = _truth(rng, LISTS)
    lists = np.argsort(rng.random((LISTS, 200), np.float32), axis=1)[:, :K] * BLOCK
    lists = (lists + rng.integers(0, BLOCK, lists.shape)).astype(np.int32)
    few, few_truth = lists[:N_USERS], truth.slice(0, N_USERS)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, lists=few, truth_offsets=few_truth.offsets, truth_items=few_truth.values)
    found = found_in(lists, truth, N_ITEMS)

    def usual() -> None:
        ranked = Ranked(lists, found_in(lists, truth, N_ITEMS), truth.lengths)
        for name in ("recall", "precision", "hit_rate", "ndcg", "map", "mrr"):
            for k in (10, 100):
                METRICS[name].function(ranked, k).mean()

    def values() -> None:
        ranked = Ranked(lists, found, truth.lengths)
        for name in METRICS:
            for k in CUT_OFFS:
                METRICS[name].function(ranked, k).mean()

    n_metrics = len(METRICS) * len(CUT_OFFS)
    _show(
        capsys,
        f"top-{K} lists to metrics, users a second (target 1,000,000); falconer: {LISTS:,} users, "
        "one thread",
        _line("falconer, hits and 12 metrics (those of the peers)", LISTS, usual, cores=1),
        _line(
            f"falconer, hits and {n_metrics} metrics",
            LISTS,
            lambda: _all_accuracy(lists, truth),
            cores=1,
        ),
        _line(f"falconer, {n_metrics} metrics from known hits", LISTS, values, cores=1),
        _line("falconer, hits alone", LISTS, lambda: found_in(lists, truth, N_ITEMS), cores=1),
        _peer("ranx", inputs),
        _peer("rectools", inputs, cores=1),
    )


def _show(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_many_users_to_a_file_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Must reach: 1.5 million users x 100,000 items under 4 GB, judged under 1.5 GB.
    FALCONER_BENCH_USERS: fewer."""
    usual, n_items = sized("1_500_000", "600"), sized(100_000, 2000)
    most = int(os.environ.get("FALCONER_BENCH_USERS", usual))
    listed = [
        f"top {K} of {n_items:,} items to parquet with the source's own ids, seen items left out "
        "(limit 4,096 MB)"
    ]
    judged = [
        "these lists to a report: metrics, intervals, slices, checks of the protocol (limit 1.5 GB)"
    ]
    for n_users in sized((most // 30, most * 2 // 15, most), (most,)):
        data, out = str(tmp_path / f"data-{n_users}"), str(tmp_path / f"out-{n_users}")
        _child("make", data, str(n_users), str(n_items))
        listed.append(_measured_line(n_users, _child("recommend", data, out, str(n_items))))
        judged.append(_measured_line(n_users, _child("evaluate", data, out)))
    _show(capsys, *listed, *judged)


def _child(*arguments: str) -> str:
    """What `many_users` printed, run as a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.many_users", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _measured_line(n_users: int, printed: str) -> str:
    values = json.loads(printed.splitlines()[-1])
    return (
        f"  {n_users:>9,} users: {n_users / values['seconds']:>7,.0f} users/s   "
        f"cpu {2 * n_users / values['cpu_seconds']:>7,.0f}   peak {values['peak_mb']:,.0f} MB"
    )
