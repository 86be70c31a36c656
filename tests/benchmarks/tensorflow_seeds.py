"""The same recipe trained on torch and on TensorFlow with several seeds: are the lists as good?

    python -m tests.benchmarks.tensorflow_seeds [--small] [RECIPE...]

RECIPE is one of `RECIPES`, ML-1M in the order used in print with fewer epochs than its own recipe
has; the data are fetched or taken from FALCONER_DATA_MIRROR. Printed for each side: NDCG@10 on test
of each seed, their mean with its 95 % interval over seeds, the smallest and the largest; then
whether the intervals overlap, and the interval of the difference between the sides of one seed,
which share first weights, batches and negatives.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t

from falconer.pipelines import stages as etl_stages
from falconer.pipelines.config import to_toml
from falconer.recsys import stages
from tests.support.datasets import checkerboard

METRIC = "ndcg@10"
SIDES = ("torch", "tensorflow")
SEEDS = 5
LEVEL = 0.95
RECIPES: Mapping[str, tuple[str, ...]] = {
    "vae_cf": ("model.training.epochs=15",),
    "gmf": ("model.training.epochs=2", "model.training.validate_every=1"),
}
"""Recipe of ml-1m-sequences -> what is changed in it, so that five seeds take minutes."""
SMALL = {
    "name": "ncf",
    "model": {
        "dim": 8,
        "mlp_dim": 8,
        "hidden": [16, 8],
        "batch_size": 128,
        "training": {"epochs": 4, "learning_rate": 0.02, "threads": 1},
    },
}


@dataclass(frozen=True)
class Interval:
    """Mean of several seeds' values, and a Student interval of it."""

    mean: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether they share a value."""
        return self.low <= other.high and other.low <= self.high


def interval(values: Sequence[float]) -> Interval:
    """Of the mean over seeds, from two of them on, as if values were normal."""
    mean, n = float(np.mean(values)), len(values)
    half = float(np.std(values, ddof=1)) / n**0.5 * float(t.ppf((1 + LEVEL) / 2, n - 1))
    return Interval(mean, mean - half, mean + half)


def value_of(recipe: str, data: Path, root: Path, overrides: Sequence[str]) -> float:
    """The metric on test of one training, over lists without what a user had before."""
    run = stages.train(recipe, data, root, overrides=overrides)
    stages.recommend(run, config=stages.RecommendConfig(k=10))
    stages.evaluate(run, data)
    report = json.loads((run / "novel" / "report.json").read_text(encoding="utf-8"))
    return float(report["metrics"][METRIC]["mean"])


def lines_of(name: str, values: Mapping[str, Sequence[float]], seconds: float) -> list[str]:
    """What is printed of one recipe; `values` of each side in the order of the seeds."""
    of_sides = {side: interval(values[side]) for side in SIDES}
    lines = [f"{name}: {METRIC} on test, {len(values[SIDES[0]])} seeds a side, {seconds:,.0f} s"]
    for side, found in of_sides.items():
        each = " ".join(f"{value:.4f}" for value in values[side])
        lines.append(
            f"  {side:<11} {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]  seeds: {each}"
        )
    one, other = (of_sides[side] for side in SIDES)
    apart = interval([b - a for a, b in zip(*(values[side] for side in SIDES), strict=True)])
    return [
        *lines,
        f"  intervals {'overlap' if one.overlaps(other) else 'do not overlap'}",
        f"  {SIDES[1]} - {SIDES[0]} of the same seed: {apart.mean:+.4f} [{apart.low:+.4f}, "
        f"{apart.high:+.4f}]",
    ]


def compared(
    name: str, recipe: str, data: Path, overrides: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Train a recipe on both sides with each seed, in turn."""
    started = time.process_time()
    values: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for side in SIDES:
                changed = [*overrides, f"model.seed={seed}", f'backend="{side}"']
                values[side].append(value_of(recipe, data, Path(folder), changed))
    return lines_of(name, values, time.process_time() - started)


def main(arguments: Sequence[str]) -> None:
    """Print the comparison of each recipe."""
    names = [name for name in arguments if not name.startswith("-")] or list(RECIPES)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if "--small" in arguments:
            recipe = root / "small.toml"
            recipe.write_text(to_toml({**SMALL, "backend": SIDES[0]}), encoding="utf-8")
            data = checkerboard(root / "board").path
            print("\n".join(compared("small", str(recipe), data, (), (0, 1))), flush=True)
            return
        wanted = etl_stages.load_recipe("ml-1m-sequences", ["features.engine=polars"])
        data = etl_stages.etl(wanted, root / "data")
        for name in names:
            lines = compared(name, f"ml-1m-sequences/{name}", data, RECIPES[name], range(SEEDS))
            print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
