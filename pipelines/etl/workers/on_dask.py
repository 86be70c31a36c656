"""A Dask cluster as workers: the only importer of `distributed` (of Dask).

The cluster's workers need this release of falconer and the folder that the dataset is written to,
by the same path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from warnings import catch_warnings, filterwarnings

from distributed import Client, KilledWorker, as_completed
from distributed.comm import get_address_host_port

from falconer.pipelines.errors import ConfigError, PipelineError, WorkerLostError
from falconer.pipelines.etl.workers.tasks import ADVICE, Task, attempt

TIMEOUT = 20
"""Seconds in which a scheduler must answer."""
PACKAGES = ("falconer", "polars", "pyarrow")


class Dask:
    """The workers of the cluster whose scheduler is at `address`, each with as many tasks at once
    as it has threads; a context manager."""

    def __init__(self, address: str) -> None:
        self._address = address
        try:
            # A client of an address without a port hangs when it is taken away.
            get_address_host_port(address)
            self._client = Client(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"--dask {address}: no Dask scheduler answers there ({error}); start one with "
                "`dask scheduler`, and workers with `dask worker`"
            ) from error
        slots = Counter[str]()
        for worker in self._client.scheduler_info()["workers"].values():
            slots[worker["host"]] += worker["nthreads"]
        self.n = slots.total()
        self.n_on_a_machine = max(slots.values(), default=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def check(self, folder: Path) -> None:
        """Raise `ConfigError` where there is no worker, or one is of another release or does not
        see `folder`."""
        with suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=TIMEOUT)
        found = self._client.run(_seen, folder, on_error="ignore")
        if not found:
            raise ConfigError(f"--dask {self._address}: no worker is there; start `dask worker`")
        wanted = {"folder": "seen", **_versions()}
        for worker, seen in sorted(found.items()):
            wrong = [
                f"{name} is {there}, here {wanted[name]}"
                for name, there in seen.items()
                if there != wanted[name]
            ]
            if wrong:
                raise ConfigError(
                    f"--dask {self._address}: worker {worker}: {'; '.join(wrong)}; every worker "
                    f"needs this release and {folder} by this path"
                )

    def run(self, task: Task, context: Any, numbers: Sequence[int], folder: Path) -> None:
        """As in `Workers`."""
        self.check(folder)
        with catch_warnings():
            filterwarnings("ignore", "Sending large graph", UserWarning)
            # By a task, and not scattered: it is made again where a worker takes it along.
            held = self._client.submit(_held, (task, context, folder), pure=False)
            futures = {
                self._client.submit(_attempt, held, number, pure=False): number
                for number in numbers
            }
        for future in as_completed(list(futures), loop=self._client.loop):
            if (error := future.exception()) is not None:
                self._client.cancel([one for one in futures if not one.done()])
                raise _told(error, folder.name, futures[future])


def _held(job: Any) -> Any:
    return job


def _attempt(job: tuple[Task, Any, Path], number: int) -> None:
    task, context, folder = job
    attempt(task, context, number, folder)


def _seen(folder: Path) -> dict[str, str]:
    return {"folder": "seen" if folder.is_dir() else "not there", **_versions()}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _told(error: BaseException, stage: str, number: int) -> BaseException:
    if isinstance(error, PipelineError) or not isinstance(error, KilledWorker | CancelledError):
        return error
    return WorkerLostError(
        f"stage {stage}, part {number}: its workers of the Dask cluster were lost, most often "
        f"because memory ran out (the scheduler's log says more); {ADVICE}"
    )
