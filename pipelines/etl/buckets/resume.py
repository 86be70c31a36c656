"""Going on with what a build that was killed has done."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.workers import Stages, Workers
from falconer.pipelines.files import read_json, write_json

STAMP = "buckets.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another one after a restart of the machine, which may have lost what was not on the disk yet."""


def resumed(folder: Path, buckets: Buckets, workers: Workers) -> tuple[Buckets, Stages]:
    """The stages of a build that keeps its parts in `folder`, and how it is parted: as an earlier
    build there was, if its parts were no larger than `buckets`; else nothing of that stays."""
    stamp, stages = folder / STAMP, Stages(folder, workers)
    boot = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""
    known: dict[str, Any] = read_json(stamp) if stamp.exists() else {}
    if known.get("boot") == boot:
        before = Buckets(**known["buckets"])
        if before.n >= buckets.n and before.rows <= buckets.rows and before.size <= buckets.size:
            say(
                f"{'':<7} goes on from the {stages.n_done():,} parts that an earlier build has done"
            )
            return before, stages
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder)
    folder.mkdir()
    write_json(stamp, {"boot": boot, "buckets": asdict(buckets)})
    return buckets, stages
