"""One of our models, trained by our loop on torch or TensorFlow, an epoch on request.

    python training_rounds.py CONFIG.json

CONFIG.json: model, backend, data (a dataset's folder) and knobs (of the model's configuration).
Each line on standard input asks for a round, an epoch, answered with a line of JSON: samples,
seconds, CPU seconds, the peak memory so far in MB, and the seconds from this process's start to the
end of its first step.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import importlib  # noqa: E402 (the clock starts first)
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

LOOPS = {
    "torch": "falconer.pipelines.training.torch",
    "tensorflow": "falconer.recsys.backends.tensorflow.loop",
}
MOST_EPOCHS = 10_000


def peak_mb() -> float:
    """Of this process alone: `ru_maxrss` would begin with that of the process which started it."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


class Rounds:
    """Waits before each epoch until it is asked for, and answers at its end."""

    def __init__(self, answers: Any) -> None:
        self._answers, self.first_step = answers, 0.0
        self._samples, self._wall, self._cpu, self._waited = 0, 0.0, 0.0, 0.0

    def wait(self) -> None:
        """Until a line comes; the process ends where none will."""
        began = time.perf_counter()
        if not sys.stdin.readline():
            os._exit(0)
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._waited += self._wall - began

    def stepped(self, state: Any, steps_per_epoch: int) -> None:
        """After each step."""
        self.first_step = self.first_step or time.perf_counter() - STARTED - self._waited
        if state.step % steps_per_epoch:
            return
        result = {
            "samples": state.samples - self._samples,
            "seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
            "peak_mb": peak_mb(),
            "first_step": self.first_step,
        }
        print(json.dumps(result), file=self._answers, flush=True)
        self._samples = state.samples
        self.wait()


def main(path: Path) -> None:
    """Train, an epoch for each line read."""
    config = json.loads(path.read_text(encoding="utf-8"))
    answers, sys.stdout = sys.stdout, sys.stderr
    from falconer.pipelines import runs
    from falconer.pipelines.data.dataset import Dataset
    from falconer.recsys.models import registry

    loop = importlib.import_module(LOOPS[config["backend"]])._Loop
    rounds, whole = Rounds(answers), loop._after_step

    def after_step(self: Any) -> None:
        whole(self)
        rounds.stepped(self._course.state, self._course.steps_per_epoch)

    loop._after_step = after_step
    found = registry.resolve(config["model"], config["backend"])
    training = {
        **config["knobs"].get("training", {}),
        "epochs": MOST_EPOCHS,
        "validate_every": MOST_EPOCHS,
        "monitor": None,
        "patience": None,
        "device": "cpu",
    }
    knobs = found.config.model_validate({**config["knobs"], "training": training})
    with (
        tempfile.TemporaryDirectory() as folder,
        runs.start(Path(folder), model=found.name, backend=found.backend, config={}) as run,
    ):
        rounds.wait()
        found.train(knobs, Dataset.open(Path(config["data"])), run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
