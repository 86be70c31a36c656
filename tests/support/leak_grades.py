"""How the check for a label among the features does: copies of the label with noise, and honest
features, each on many small datasets. `python -m tests.support.leak_grades` prints docs/labels.md's
table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.recsys.judging.labels import checks
from tests.support.datasets import write_labels_dataset

NOISES = (0.0, 0.0005, 0.002, 0.01, 0.02, 0.05, 0.1)
SEEDS = 20
SIZES = (1_000, 10_000)
Values = Callable[[Any, Any], Any]


def copied(flipped: float) -> Values:
    """The label, with this share of it flipped."""
    return lambda label, random: np.where(random.random(len(label)) < flipped, 1 - label, label)


def honest(seed: int) -> Values:
    """A number that goes with the label, as features do: AUCs of 0.5 to 0.8."""
    return lambda label, random: label * 0.2 * (seed % 7) + random.normal(size=len(label))


def with_hour(data: Dataset, root: Path, values: Values, seed: int = 0) -> Dataset:
    """A copy of the dataset whose feature hour is values(label, random)."""
    random = np.random.default_rng(seed)
    for name in data.card.content:
        table = data.table(name)
        if "hour" in table.column_names:
            label = (
                table["label"].to_numpy()
                if "label" in table.column_names
                else data.labels(Path(name).stem)  # type: ignore[arg-type]
            )
            column = pa.array(values(label, random).astype(np.float32))
            table = table.set_column(table.column_names.index("hour"), "hour", column)
        write_table(root, name, table)
    write_card(root, data.card.model_copy(update={"content": checksums(root)}))
    return Dataset.open(root)


def suspected(data: Dataset) -> list[str]:
    """What the check says of features."""
    return [text for text in checks.warnings_of(data, "test") if "alone reaches" in text]


def grades(folder: Path, n_rows: int, seeds: int = SEEDS) -> dict[str, int]:
    """In how many of the datasets the check speaks, by what the feature is."""
    found = dict.fromkeys([*(f"{noise:.2%}" for noise in NOISES), "honest"], 0)
    for seed in range(seeds):
        clean = write_labels_dataset(
            folder / f"{n_rows}-{seed}", entities=False, n_rows=n_rows, seed=seed
        )
        kinds = {f"{noise:.2%}": copied(noise) for noise in NOISES} | {"honest": honest(seed)}
        for place, (kind, values) in enumerate(kinds.items()):
            root = folder / f"{n_rows}-{seed}-{place}"
            found[kind] += bool(suspected(with_hour(clean, root, values, seed)))
    return found


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        every = {n: grades(Path(folder), n) for n in SIZES}
    sys.stdout.write(f"| the feature is | {' | '.join(f'{n:,} rows' for n in SIZES)} |\n")
    sys.stdout.write("|---|" + "---|" * len(SIZES) + "\n")
    for kind in every[SIZES[0]]:
        what = "honest (false alarms)" if kind == "honest" else f"the label, {kind} flipped"
        cells = " | ".join(f"{found[kind]} of {SEEDS}" for found in every.values())
        sys.stdout.write(f"| {what} | {cells} |\n")


if __name__ == "__main__":
    main()
