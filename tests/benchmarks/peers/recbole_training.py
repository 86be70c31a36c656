"""A model of RecBole's, trained by RecBole's own loop on request. Runs in RecBole's environment,
with nothing of ours.

    python recbole_training.py CONFIG.json

CONFIG.json holds RecBole's configuration with `model`, and `batches`. Each line on standard input
asks for a round of up to so many batches of an epoch, answered with a line of JSON: samples (the
rows of RecBole's batches), seconds and the mean loss.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


class FirstBatches:
    """The first batches of a loader, counting their samples."""

    def __init__(self, loader: Any, batches: int) -> None:
        self.loader, self.batches, self.samples = loader, batches, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in itertools.islice(self.loader, self.batches):
            self.samples += len(batch)
            yield batch


def main(path: Path) -> None:
    """Load the data, then train a round for each line read."""
    values = json.loads(path.read_text())
    batches = values.pop("batches")
    answers, sys.stdout = sys.stdout, sys.stderr
    config = Config(model=values["model"], dataset=values["dataset"], config_dict=values)
    init_seed(config["seed"], config["reproducibility"])
    train, _, _ = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    print(
        json.dumps({"parameters": sum(p.numel() for p in model.parameters())}),
        file=answers,
        flush=True,
    )
    for epoch, _ in enumerate(sys.stdin):
        rounds = FirstBatches(train, batches)
        started = time.perf_counter()
        loss = trainer._train_epoch(rounds, epoch)
        seconds = time.perf_counter() - started
        result = {"samples": rounds.samples, "seconds": seconds, "loss": loss / batches}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
