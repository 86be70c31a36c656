"""Samples a second of every model on TensorFlow beside the same on torch, and beside merlin-models'
own `fit` for those that it has.

    python -m tests.benchmarks.tensorflow_speed [--small] [MODEL...]

Each side is a process of its own with two threads, which waits while the others have their round;
rounds alternate, and the ratio of a round is to its neighbour's, so that others who use the machine
meet all sides. All have the same rows, architecture, batch and Adam. Printed: the median samples a
second, the median ratio with the smallest and largest, the same of CPU seconds, the seconds from a
process's start to the end of its first step, and its peak memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from falconer.pipelines.data.dataset import Dataset
from tests.benchmarks.random_data import N_NUMBERS, SIZES, click_logs, event_logs
from tests.support.datasets import write_labels_dataset

HERE = Path(__file__).parent
THREADS = 2
OURS = "tensorflow"
LABELLED = ("wide_deep", "dlrm", "ncf")
"""Models that are timed on labels, as merlin-models has only these."""
Answer = Mapping[str, float]


@dataclass(frozen=True)
class Size:
    """How much each side does in a round, and how many rounds there are after one to warm up."""

    rows: int
    users: int
    items: int
    categories: tuple[int, ...]
    batch: int
    rounds: int


WHOLE = Size(65_536, 6040, 3706, SIZES, 4096, 5)
SMALL = Size(2000, 50, 40, (3, 10), 256, 1)
ARCHITECTURE: Mapping[str, Mapping[str, Any]] = {
    "wide_deep": {"dim": 16, "hidden": (128, 64)},
    "dlrm": {"dim": 16, "bottom_hidden": (64,), "hidden": (128, 64)},
    "ncf": {"dim": 32, "mlp_dim": 32, "hidden": (64, 32, 16), "dropout": 0.0},
    "vae_cf": {"hidden": (600,), "dim": 200, "batch_size": 256},
    "sasrec": {"dim": 64, "feed_forward": 256, "max_length": 50, "batch_size": 128},
    "bert4rec": {"dim": 64, "feed_forward": 256, "max_length": 50, "batch_size": 128},
}
SEQUENCES = ("sasrec", "bert4rec")


def dataset_of(model: str, size: Size, folder: Path) -> Dataset:
    """Rows like Criteo's, labelled pairs of users and items, or events of users."""
    if model == "ncf":
        rows = size.rows * 5 // 4  # one in five is in the other folds
        return write_labels_dataset(
            folder, n_users=size.users, n_items=size.items, n_rows=rows, has_time=False
        )
    if model in LABELLED:
        return click_logs(folder, n_rows=size.rows, sizes=size.categories)
    return event_logs(folder, n_rows=size.rows, n_users=size.users, n_items=size.items)


def knobs_of(model: str, size: Size) -> dict[str, Any]:
    """Of our configuration, the same on both of our sides."""
    training = {"threads": THREADS, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0}
    knobs = {"batch_size": size.batch, **ARCHITECTURE[model], "training": training}
    return {**knobs, "fields": None} if model in ("wide_deep", "dlrm") else knobs


def merlin_of(model: str, size: Size, data: Dataset) -> dict[str, Any]:
    """The same for merlin-models."""
    ours = ARCHITECTURE[model]
    of_clicks = {f"C{number}": n for number, n in enumerate(size.categories, start=1)}
    sizes = {"user": size.users, "item": size.items} if model == "ncf" else of_clicks
    return {
        "model": model,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "batch_size": size.batch,
        "dim": ours["dim"],
        "mlp_dim": ours.get("mlp_dim"),
        "bottom": ours.get("bottom_hidden"),
        "top": ours["hidden"],
        "sizes": sizes,
        "numbers": [] if model == "ncf" else [f"I{number}" for number in range(1, N_NUMBERS + 1)],
        "rows": str(data.train_files()[0]),
    }


class Side:
    """One process, which waits between its rounds."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: Path) -> None:
        self.name, self.rounds = name, list[Answer]()
        self._process, self._errors = process, errors

    def round(self) -> None:
        """Ask for one, and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            answer = json.loads(line)
            if "seconds" in answer:
                self.rounds.append(answer)
                return
        raise AssertionError(f"{self.name} ended: {self._errors.read_text()[-2000:]}")

    def values(self, name: str) -> list[float]:
        """Of each round but the first."""
        return [one[name] for one in self.rounds[1:]]

    @property
    def speed(self) -> float:
        """Median samples a second."""
        return statistics.median(one["samples"] / one["seconds"] for one in self.rounds[1:])


@contextmanager
def started(name: str, script: str, config: Mapping[str, Any], folder: Path) -> Iterator[Side]:
    """A side, ended with the block."""
    place, errors = folder / f"{name}.json", folder / f"{name}.txt"
    place.write_text(json.dumps(config), encoding="utf-8")
    limits = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {
        **os.environ,
        **dict.fromkeys(limits, str(THREADS)),
        "PYTHONPATH": str(HERE.parent.parent),
        "FALCONER_TRACKING": "off",
    }
    command = [sys.executable, "-W", "ignore", str(HERE / "peers" / script), str(place)]
    with (
        errors.open("w") as stream,
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            text=True,
        ) as process,
    ):
        try:
            yield Side(name, process, errors)
        finally:
            process.kill()


def measured(model: str, size: Size, folder: Path) -> list[Side]:
    """TensorFlow's side first, then those that it is beside."""
    data = dataset_of(model, size, folder / "data")
    common = {"model": model, "data": str(data.path), "knobs": knobs_of(model, size)}
    with ExitStack() as stack:
        programs: dict[str, tuple[str, dict[str, Any]]] = {
            name: ("training_rounds.py", {**common, "backend": name}) for name in (OURS, "torch")
        }
        if model in LABELLED:
            programs["merlin fit"] = ("merlin_labels.py", merlin_of(model, size, data))
        sides = []
        for name, (script, config) in programs.items():
            sides.append(stack.enter_context(started(name, script, config, folder)))
            sides[-1].round()  # alone: the others have not begun, or wait
        for _ in range(size.rounds):
            for side in sides:
                side.round()
    return sides


def lines_of(model: str, sides: Sequence[Side]) -> list[str]:
    """The rows of the table."""
    ours = sides[0]
    lines = []
    for side in sides:
        ratios = [
            theirs["seconds"] / own["seconds"] * own["samples"] / theirs["samples"]
            for own, theirs in zip(ours.rounds[1:], side.rounds[1:], strict=True)
        ]
        cpu = statistics.median(
            b / a
            for a, b in zip(ours.values("cpu_seconds"), side.values("cpu_seconds"), strict=True)
        )
        beside = (
            ""
            if side is ours
            else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
        lines.append(
            f"{model:<10}{side.name:<12}{side.speed:>12,.0f}{beside:>24}"
            f"{'' if side is ours else f'{cpu:.2f}':>8}"
            f"{side.rounds[0]['first_step']:>10.1f}{side.rounds[-1]['peak_mb']:>10,.0f}"
        )
    return lines


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    size = SMALL if "--small" in arguments else WHOLE
    models = [name for name in arguments if not name.startswith("-")] or list(ARCHITECTURE)
    print(f"{size.rounds} rounds of {size.rows:,} rows or events, {THREADS} threads a side")
    print(
        f"{'model':<10}{'side':<12}{'samples/s':>12}{'tensorflow / this one':>24}{'CPU':>8}"
        f"{'start s':>10}{'peak MB':>10}"
    )
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(lines_of(model, measured(model, size, Path(folder)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
