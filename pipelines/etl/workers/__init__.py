"""A build's tasks, and who runs them: this process, worker processes, or a Dask cluster.

A task is a function of a stage's context and a number. It writes its files into a folder of its
own, which gets its name when the task is done: so a task is done once or not at all, whoever ran
it, and a build that was killed goes on from the tasks that are done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from falconer.pipelines.etl.gpu import USUAL, GpuConfig
from falconer.pipelines.etl.workers.local_cuda import LOCAL_CUDA, cluster_of_gpus
from falconer.pipelines.etl.workers.processes import Processes
from falconer.pipelines.etl.workers.tasks import Here, Stages, Task, Workers
from falconer.pipelines.extras import missing

__all__ = ["Here", "Stages", "Task", "Workers", "workers_of"]


@contextmanager
def workers_of(n: int, dask: str | None, gpu: GpuConfig = USUAL) -> Iterator[Workers]:
    """The cluster whose scheduler is at `dask` (or this machine's GPUs, for "local-cuda"), else `n`
    processes, or this one for n = 1; raises `MissingExtraError` where Dask is absent."""
    if dask is None and n == 1:
        yield Here()
        return
    if dask is None:
        with Processes(n) as processes:
            yield processes
        return
    try:
        from falconer.pipelines.etl.workers.on_dask import Dask
    except ModuleNotFoundError as error:
        raise missing(error.name or "distributed", "--dask") from error
    with ExitStack() as stack:
        if dask == LOCAL_CUDA:
            dask = stack.enter_context(cluster_of_gpus(gpu.limit()))
        yield stack.enter_context(Dask(dask))
