"""What a recipe says of GPUs; none of it decides what a dataset holds."""

from __future__ import annotations

from falconer.pipelines.config import Config
from falconer.pipelines.etl.sizes import bytes_of


class GpuConfig(Config):
    """The table [gpu]."""

    memory_limit: str | None = None
    """Of each GPU's memory, such as "60GB": what a build may take, or from where on cuDF moves
    tables to the machine's memory. None leaves it to the library."""
    allow_cpu_fallback: bool = False
    """Whether what cudf-polars cannot compute may run on the CPU; it is counted, and said."""

    def limit(self) -> int | None:
        """`memory_limit` in bytes; raises `ConfigError` where it is no size."""
        return None if self.memory_limit is None else bytes_of(self.memory_limit)


USUAL = GpuConfig()
