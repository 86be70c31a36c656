"""One epoch of NCF over a dataset, in a process of its own; prints rows, seconds and the peak
memory as JSON.

python ncf_epoch.py DATASET RUNS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.models.ncf.config import NcfConfig, NcfTraining
from falconer.recsys.models.registry import resolve

SMALL = NcfConfig(
    variant="gmf",
    dim=8,
    n_negatives=1,
    batch_size=65_536,
    training=NcfTraining(epochs=1, monitor=None, patience=None),
)


def main(dataset: Path, root: Path) -> None:
    """Train as `falconer train` does, without saving the model."""
    data = Dataset.open(dataset)
    started = time.perf_counter()
    with runs.start(
        root, model="ncf", backend="torch", config=SMALL.model_dump(mode="json")
    ) as run:
        resolve("ncf").train(SMALL, data, run)
    found = {
        "rows": data.card.counts["train_events"],
        "seconds": time.perf_counter() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
