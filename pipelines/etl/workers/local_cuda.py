"""A cluster of this machine's GPUs: a worker for each, which sees that one alone. The only importer
of `dask_cuda`. Not run on a GPU yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from falconer.pipelines.compat import importing_dask_cuda
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.extras import missing

LOCAL_CUDA = "local-cuda"
"""In the place of a scheduler's address."""
USUAL_SHARE = 0.8
"""Of a GPU's memory, from which on a worker moves what it holds to the machine's."""


@contextmanager
def cluster_of_gpus(memory_limit: int | None) -> Iterator[str]:
    """The address of the cluster's scheduler; `memory_limit` is in bytes of each GPU.

    Raises `MissingExtraError` without dask-cuda, and `ConfigError` where no GPU answers.
    """
    with start(memory_limit or USUAL_SHARE) as cluster:
        yield cluster.scheduler_address


def start(device_memory_limit: float) -> Any:
    """The cluster, a context manager: bytes of each GPU, or a share of its memory up to 1."""
    try:
        with importing_dask_cuda():
            from dask_cuda import LocalCUDACluster
    except ModuleNotFoundError as error:
        raise missing(error.name or "dask_cuda", f"--dask {LOCAL_CUDA}") from error
    try:
        return LocalCUDACluster(
            threads_per_worker=1,
            device_memory_limit=device_memory_limit,
            # The build's own memory_limit plans for the machine's memory; a limit here would kill.
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address=None,
        )
    except Exception as error:
        raise ConfigError(
            f"--dask {LOCAL_CUDA}: no NVIDIA GPU answers ({error or type(error).__name__}); "
            "`falconer doctor` says what is there; --workers shares the work on the CPU"
        ) from error
