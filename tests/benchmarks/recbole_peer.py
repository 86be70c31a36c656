"""RecBole 1.2.1 as a peer: an environment and a process of its own, trained on a dataset's train
events."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from falconer.pipelines.data.dataset import Dataset
from tests.benchmarks import unmeasured
from tests.benchmarks.small import NO_PEER, SMALL

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COMMON = {
    "dataset": "events",
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "load_col": {"inter": ["user_id", "item_id"]},
    "eval_args": {
        "split": {"RS": [0.98, 0.01, 0.01]},
        "order": "RO",
        "group_by": "user",
        "mode": "full",
    },
    "learner": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "use_gpu": False,
    "seed": 0,
    "state": "ERROR",
    "show_progress": False,
}


class Peer:
    """RecBole's training, which waits between rounds."""

    def __init__(self, process: subprocess.Popen[str], first: str) -> None:
        self.process = process
        self.parameters = int(json.loads(first)["parameters"])

    def samples_per_second(self, expected: int) -> float:
        """One round, which must be of so many samples."""
        assert self.process.stdin is not None
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        found = self._answer()
        assert found["samples"] == expected
        return float(found["samples"] / found["seconds"])

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))


@contextmanager
def started_peer(
    data: Dataset, folder: Path, config: Mapping[str, Any], *, threads: int
) -> Iterator[Peer | unmeasured.Absent]:
    """RecBole with `data` in memory, ended with the block; what it says goes to `errors.txt`.

    `config` is RecBole's, with `model` and `batches` (of a round), beside `COMMON`.
    """
    write_events(data, folder / "events" / "events.inter")
    python = environment_of()
    if python is None:
        yield unmeasured.Absent()
        return
    places = {"data_path": str(folder), "checkpoint_dir": str(folder / "saved")}
    (folder / "config.json").write_text(json.dumps({**COMMON, **config, **places}))
    command = [python, "-W", "ignore", HERE / "peers/recbole_training.py", folder / "config.json"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    pipe = subprocess.PIPE
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, stdin=pipe, stdout=pipe, stderr=errors, env=environment, text=True
        ) as process,
    ):
        assert process.stdout is not None
        if first := process.stdout.readline():
            yield Peer(process, first)
        else:
            unmeasured.note_ended("RecBole", folder / "errors.txt")
            yield unmeasured.Absent()
        process.kill()


def environment_of() -> Path | None:
    """The Python of RecBole's environment, made where it is not there; None where it cannot be."""
    if SMALL:
        return _without(NO_PEER)
    made = subprocess.run(
        [ROOT / "scripts/peers/recbole"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        return _without(f"scripts/peers/recbole failed: {made.stderr.strip()[-300:]}")
    return Path(ROOT / made.stdout.strip().splitlines()[-1])


def _without(reason: str) -> None:
    unmeasured.note("RecBole", reason)


def write_events(data: Dataset, path: Path) -> None:
    """RecBole's file of the train events; an event's number is its time."""
    path.parent.mkdir(parents=True)
    pairs = zip(data.train_column("user").tolist(), data.train_column("item").tolist(), strict=True)
    lines = (f"{user}\t{item}\t{number}\n" for number, (user, item) in enumerate(pairs))
    path.write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(lines))
