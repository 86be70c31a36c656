"""Which part of the work is this process's, when `torchrun` started several. Importing this needs
no framework."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Process `rank` of `world` equal ones."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, prints and validates."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """This process's rows of a batch of n: every `world`-th, so that all shares differ by one
        row at most."""
        return slice(self.rank, n, self.world)


def current_shard() -> Shard:
    """What `torchrun` told this process; the whole where it did not start it."""
    return Shard(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
