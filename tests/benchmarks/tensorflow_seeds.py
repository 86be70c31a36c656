"""The same recipe trained on torch and on TensorFlow with several seeds: are the models as good?

    python -m tests.benchmarks.tensorflow_seeds [--small] [RECIPE...]

RECIPE is one of `RECIPES`: MovieLens-1M, trained shorter and smaller than its own recipe says; the
data are fetched or taken from FALCONER_DATA_MIRROR. Printed for each side: the metric on test of
each seed and their mean with its 95 % interval over seeds; then whether the intervals overlap, and
the interval of the difference between the sides of one seed, which share first weights, batches and
negatives. Ends with 1 where the intervals of a recipe do not overlap.

Each training's metric is kept in build/tensorflow-seeds: a command that was stopped goes on behind
the last one. Remove that folder after a change of a model.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t

from falconer.pipelines import stages as etl_stages
from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset
from falconer.recsys import stages
from tests.support.datasets import checkerboard

SIDES = ("torch", "tensorflow")
SEEDS = 5
LEVEL = 0.95
KEPT = Path("build/tensorflow-seeds")
METRICS = {"top_n": ("novel", "ndcg@10"), "labels": ("labels", "roc_auc")}
"""Task -> where its report is, and the metric: over lists without what a user had before."""


@dataclass(frozen=True)
class Recipe:
    """A recipe of MovieLens-1M, and what is changed in it so that ten trainings take minutes."""

    path: str
    changes: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """The dataset's recipe."""
        return self.path.partition("/")[0]


NARROW = (
    'model.history="newest"',
    "model.max_length=20",
    "model.dim=32",
    "model.feed_forward=64",
    "model.n_blocks=1",
)
RECIPES = {
    "wide_deep": Recipe("ml-1m-ctr/wide_deep", ("model.training.epochs=4",)),
    "dlrm": Recipe("ml-1m-ctr/dlrm", ("model.training.epochs=4",)),
    "ncf": Recipe("ml-1m-ctr/ncf", ("model.training.epochs=4",)),
    "vae_cf": Recipe("ml-1m-sequences/vae_cf", ("model.training.epochs=15",)),
    "sasrec": Recipe("ml-1m-sequences/sasrec", (*NARROW, "model.training.epochs=5")),
    "bert4rec": Recipe("ml-1m-sequences/bert4rec", (*NARROW, "model.training.epochs=30")),
    "gmf": Recipe(
        "ml-1m-sequences/gmf", ("model.training.epochs=2", "model.training.validate_every=1")
    ),
}
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
class Training:
    """What one value is of."""

    recipe: str
    changes: tuple[str, ...]
    seed: int
    side: str


class Values:
    """The metric of each training that has ended, in a file with a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._found = dict(map(self._read, lines))

    def find(self, training: Training) -> float | None:
        """None where it has not ended."""
        return self._found.get(training)

    def keep(self, training: Training, value: float) -> None:
        """Write it down at once."""
        self._found[training] = value
        line = json.dumps({**asdict(training), "value": value})
        with self._path.open("a", encoding="utf-8") as stream:
            print(line, file=stream, flush=True)

    @staticmethod
    def _read(line: str) -> tuple[Training, float]:
        entry = json.loads(line)
        value = float(entry.pop("value"))
        return Training(**{**entry, "changes": tuple(entry["changes"])}), value


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


def value_of(training: Training, data: Path, root: Path) -> float:
    """The metric on test of one training."""
    changes = [*training.changes, f"model.seed={training.seed}", f'backend="{training.side}"']
    run = stages.train(training.recipe, data, root, overrides=changes)
    task = Dataset.open(data).card.task
    if task == "labels":
        stages.predict(run)
    else:
        stages.recommend(run, config=stages.RecommendConfig(k=10))
    stages.evaluate(run, data)
    part, metric = METRICS[task]
    report = json.loads((run / part / "report.json").read_text(encoding="utf-8"))
    return float(report["metrics"][metric]["mean"])


def overlap(values: Mapping[str, Sequence[float]]) -> bool:
    """Whether the intervals of both sides do; `values` of each side in the order of the seeds."""
    one, other = (interval(values[side]) for side in SIDES)
    return one.overlaps(other)


def lines_of(name: str, metric: str, values: Mapping[str, Sequence[float]]) -> list[str]:
    """What is printed of one recipe."""
    lines = [f"{name}: {metric} on test, {len(values[SIDES[0]])} seeds a side"]
    for side in SIDES:
        found, each = interval(values[side]), " ".join(f"{value:.4f}" for value in values[side])
        lines.append(
            f"  {side:<11} {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]  seeds: {each}"
        )
    apart = interval([b - a for a, b in zip(*(values[side] for side in SIDES), strict=True)])
    return [
        *lines,
        f"  intervals {'overlap' if overlap(values) else 'do not overlap'}",
        f"  {SIDES[1]} - {SIDES[0]} of the same seed: {apart.mean:+.4f} [{apart.low:+.4f}, "
        f"{apart.high:+.4f}]",
    ]


def compared(name: str, recipe: Recipe, data: Path, kept: Values, seeds: Sequence[int]) -> bool:
    """Train a recipe on both sides with each seed, in turn, and print it; whether the intervals
    overlap."""
    values: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for side in SIDES:
                training = Training(recipe.path, recipe.changes, seed, side)
                value = kept.find(training)
                if value is None:
                    value = value_of(training, data, Path(folder))
                    kept.keep(training, value)
                values[side].append(value)
    _, metric = METRICS[Dataset.open(data).card.task]
    print("\n".join(lines_of(name, metric, values)), flush=True)
    return overlap(values)


def of_small(root: Path) -> bool:
    """A tiny recipe with two seeds."""
    recipe = root / "small.toml"
    recipe.write_text(to_toml({**SMALL, "backend": SIDES[0]}), encoding="utf-8")
    data = checkerboard(root / "board").path
    return compared("small", Recipe(str(recipe), ()), data, Values(root / "values"), (0, 1))


def main(arguments: Sequence[str], kept: Path = KEPT) -> int:
    """Print the comparison of each recipe; 1 where one's intervals do not overlap."""
    names = [name for name in arguments if not name.startswith("-")] or list(RECIPES)
    if "--small" in arguments:
        with tempfile.TemporaryDirectory() as folder:
            return 0 if of_small(Path(folder)) else 1
    kept.mkdir(parents=True, exist_ok=True)
    values, alike = Values(kept / "values.jsonl"), True
    for name in names:
        recipe = RECIPES[name]
        wanted = etl_stages.load_recipe(recipe.dataset, ["features.engine=polars"])
        data = etl_stages.etl(wanted, kept / "data")
        alike &= compared(name, recipe, data, values, range(SEEDS))
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
