"""Run directories: what was trained on what, how it went, and where it is.

runs/<utc>-<model>-<backend>-<id>/
    run.json  config.toml  metrics.jsonl  timing.jsonl  log.txt  checkpoints/  model/
    <view>/recommendations.parquet  <view>/report.json  <view>/per_query.parquet
"""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from falconer.pipelines.config import to_toml
from falconer.pipelines.console import say
from falconer.pipelines.errors import ArtifactError, PipelineError
from falconer.pipelines.exclusive import exclusive
from falconer.pipelines.files import (
    atomic_directory,
    scratch_folder,
    sha256_of,
    sweep,
    write_json,
    write_text,
)
from falconer.pipelines.run_facts import read_facts, surroundings, version_of
from falconer.pipelines.training.shard import current_shard

RUN_FILE = "run.json"
CONFIG_FILE = "config.toml"
EXACT_PACKAGES = ("numpy", "torch", "tensorflow")
"""A resumed run wants the versions that it was started with: others may compute other bytes."""
SWEPT_DEPTH = 3
"""What a killed process left is looked for in a run's folders so deep: checkpoints of several fits
are two deep."""

Watch = Callable[[int, Mapping[str, float]], None]
"""Sees each line of a run's metrics once it is written: the step, and the values by name."""


class StoppedError(PipelineError):
    """A run that its caller ended before its end, on purpose."""


class Run:
    """One run's directory. `start` makes one; `Run(path)` reads one that exists."""

    leads = True
    """Whether this process writes into the directory; False in the other processes of a distributed
    training."""

    watch: Watch | None = None
    """What it raises ends the run: `StoppedError` where that is no failure."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run, without what killed processes left in it; `ArtifactError` where `path`
        is none."""
        if not (path / RUN_FILE).is_file():
            raise ArtifactError(
                f"{path}: not a run directory (no {RUN_FILE}); `falconer train` writes one"
            )
        sweep(path, depth=SWEPT_DEPTH)
        return cls(path)

    @property
    def info(self) -> dict[str, Any]:
        """The content of `run.json`; `ArtifactError` where it is damaged, or no run's."""
        return read_facts(self.path / RUN_FILE)

    @property
    def name(self) -> str:
        """The directory's name, unique and sortable by time."""
        return self.path.name

    @property
    def model_directory(self) -> Path:
        """Where the trained model is, once the run has finished."""
        return self.path / "model"

    def update(self, **values: Any) -> None:
        """Set keys of `run.json`, atomically."""
        write_json(self.path / RUN_FILE, {**self.info, **values})

    def log(self, text: str) -> None:
        """A line to standard output and to `log.txt`."""
        say(text)
        with (self.path / "log.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one deterministic line to `metrics.jsonl`, and show it to `watch`."""
        self._append("metrics.jsonl", {"step": step, **values})
        if self.watch is not None:
            self.watch(step, values)

    def log_timing(self, **values: float) -> None:
        """Append one line to `timing.jsonl`: seconds, samples per second and the like, which differ
        at each run."""
        self._append("timing.jsonl", values)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The parsed lines of `metrics.jsonl` or `timing.jsonl`; empty where there are none yet.

        A last line without an end was being written when its process was killed, and is left out;
        other damage is an `ArtifactError`.
        """
        path = self.path / name
        if not path.exists():
            return []
        *whole, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
        try:
            lines = [json.loads(line) for line in whole]
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{path}: damaged ({error}); train anew") from error
        if not all(isinstance(line, dict) for line in lines):
            raise ArtifactError(f"{path}: damaged (a line is no table); train anew")
        return lines

    def cut_last_line(self, name: str) -> None:
        """Drop what stands behind the last line break: a killed process was writing it."""
        path = self.path / name
        if path.exists():
            self.cut(name, path.read_bytes().rfind(b"\n") + 1)

    def settle(self, name: str) -> int:
        """Bring a file of lines to the disk; returns its length in bytes, 0 where there is none
        yet."""
        path = self.path / name
        if not path.exists():
            return 0
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            return os.fstat(stream.fileno()).st_size

    def cut(self, name: str, length: int) -> None:
        """Drop what was written to a file of lines since it had this length; `ArtifactError` where
        it is shorter."""
        size = self.settle(name)
        if size < length:
            raise ArtifactError(
                f"{self.path / name}: {length - size} bytes are missing from its end; train anew"
            )
        if size > length:
            os.truncate(self.path / name, length)

    def _append(self, name: str, values: Mapping[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(values, allow_nan=False) + "\n")


class FollowingRun(Run):
    """The run as the other processes of a distributed training have it: they read, and the first
    one writes."""

    leads = False

    def update(self, **values: Any) -> None:
        """Nothing."""

    def log(self, text: str) -> None:
        """Nothing."""

    def cut(self, name: str, length: int) -> None:
        """Nothing."""

    def _append(self, name: str, values: Mapping[str, Any]) -> None:
        """Nothing."""


ENDINGS: Mapping[type[BaseException], str] = {
    KeyboardInterrupt: "interrupted",
    StoppedError: "stopped",
}
"""What ends a run before its end -> its status; anything else is a failure."""


def in_a_name(text: str) -> str:
    """`text` with every character that does not belong into a folder's name as an underscore."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", text)


@contextmanager
def start(
    root: Path,
    *,
    model: str,
    backend: str,
    config: Mapping[str, Any],
    run_id: str | None = None,
    **facts: Any,
) -> Iterator[Run]:
    """Make a run directory below `root`, and record how the block ends: finished, stopped, failed
    or interrupted.

    `run_id` is given where the run is a step of a larger job (same step, same id); else it is
    random. `facts` go into `run.json` (dataset_id, id_space, seed, threads). A process that follows
    another (`torchrun`) gets a directory of its own that goes with the block.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{stamp}-{in_a_name(model)}-{backend}-{run_id or secrets.token_hex(3)}"
    leads = current_shard().leads
    sweep(root, depth=1)
    with nullcontext(root) if leads else scratch_folder() as folder:
        path = folder / name
        with atomic_directory(path) as partial:
            write_text(partial / CONFIG_FILE, to_toml(config))
            info = {
                "status": "running",
                "name": name,
                "model": model,
                "backend": backend,
                **facts,
                **surroundings(),
                "config_sha256": sha256_of(partial / CONFIG_FILE),
                "seconds": 0.0,
            }
            write_json(partial / RUN_FILE, info)
        with _recorded(Run(path) if leads else FollowingRun(path), seconds=0.0) as run:
            yield run


@contextmanager
def resume(path: Path, **facts: Any) -> Iterator[Run]:
    """Take up a run that did not finish; its status is running again, and the block's end is
    recorded as by `start`.

    `facts` are compared with those that the run was started with, and so are its configuration and
    the versions of the packages that compute. Raises `ArtifactError` for a run that is finished or
    is being trained at this moment, and where something differs: the result would not be that of an
    undisturbed run.
    """
    run = Run.open(path) if current_shard().leads else FollowingRun.open(path)
    sweep(path.parent)
    info = run.info
    if info["status"] == "finished":
        raise ArtifactError(f"{path}: this run is finished; there is nothing to resume")
    _refuse_changes(path, info, facts)
    for name in ("metrics.jsonl", "timing.jsonl"):
        run.cut_last_line(name)
    with _recorded(run, seconds=_seconds_spent(path, info)):
        yield run


def _seconds_spent(path: Path, info: Mapping[str, Any]) -> float:
    """Training time of a run that did not finish; of a killed one, up to the last thing that it
    wrote."""
    seconds = float(info["seconds"])
    if info["status"] != "running":
        return seconds
    last = max(file.stat().st_mtime for file in path.rglob("*") if file.is_file())
    return seconds + max(
        0.0, last - datetime.fromisoformat(info.get("since", info["started"])).timestamp()
    )


def _refuse_changes(path: Path, info: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    now = {**facts, "config_sha256": sha256_of(path / CONFIG_FILE)}
    now |= {name: version_of(name) for name in EXACT_PACKAGES}
    before = {**info, **{name: info["versions"].get(name) for name in EXACT_PACKAGES}}
    lines = [
        f"  - {key}: {before.get(key)} then, {now[key]} now"
        for key in now
        if before.get(key) != now[key]
    ]
    if lines:
        listed = "\n".join(lines)
        raise ArtifactError(
            f"{path}: this run cannot go on exactly, since these are not what it was started "
            f"with\n{listed}\n"
            "bring them back (threads: OMP_NUM_THREADS; config_sha256: config.toml), or train anew"
        )


@contextmanager
def _recorded(run: Run, *, seconds: float) -> Iterator[Run]:
    """Hold the run, and record in `run.json` how the block ends; `seconds` were spent on it
    before."""
    started = time.perf_counter() - seconds
    with _held(run):
        run.update(
            status="running", error=None, since=datetime.now(UTC).isoformat(), seconds=seconds
        )
        try:
            yield run
        except BaseException as error:
            status = next(
                (name for kind, name in ENDINGS.items() if isinstance(error, kind)), "failed"
            )
            with suppress(PipelineError):  # a full disk takes no word of it, and must be named
                run.update(
                    status=status,
                    error=f"{type(error).__name__}: {error}",
                    seconds=time.perf_counter() - started,
                )
            raise
        run.update(
            status="finished",
            seconds=time.perf_counter() - started,
            peak_memory_mb=_peak_memory_mb(),
        )


def _held(run: Run) -> AbstractContextManager[None]:
    """No second process trains into the run's directory; one that follows another holds nothing."""
    busy = f"{run.path}: another process is training this run at this moment"
    return exclusive(run.path, ArtifactError(busy)) if run.leads else nullcontext()


def _peak_memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
