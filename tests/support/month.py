"""A month of real purchases, window after window, and the same month killed at random moments.

    python -m tests.support.month [--small] [--kills N] [--folder FOLDER]

prints seconds a window, the share of steps that were there already, and the disk used; with kills,
whether every killed month ended like the one that was left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from falconer.pipelines.etl.sources.complete_journey import CompleteJourney
from falconer.pipelines.files import checksums, read_json

OUTCOMES = {"promote", "keep", "suspicious", "undecidable", "refused"}
MOST_STEPS, SECONDS_ON, KILLS_A_MONTH = 9, 0.2, 5
"""A kill comes after at most so many steps, and on average so many seconds into the next."""
DAYS = ("2017-11-27", "2017-12-04", "2017-12-11", "2017-12-18")
"""First days of the weeks."""
PIPELINE = """name = "month"
start = {start}
days = 7
[data]
recipe = "{recipe}"
set = {overrides}
valid_days = 7
[models]
challengers = {challengers}
baselines = {baselines}
[rule]
smallest_effect = 0.001
min_users = 50
[recommend]
k = 10
[recommend.rules]
fresh_days = 60
"""
SMALL_RECIPE = """name = "purchases"
[source]
kind = "files"
events = "purchases.parquet"
columns = { user = "user", item = "item", time = "time" }
[split]
protocol = "temporal"
views = ["all"]
[catalogue]
min_item_users = 5
"""


@dataclass(frozen=True)
class Month:
    """A folder with the pipeline file `month.toml`, and the first days of its windows."""

    folder: Path
    days: tuple[str, ...]

    def root(self) -> Path:
        """What the pipeline writes."""
        return self.folder / "retraining"

    def window(self, day: str) -> Path:
        """The folder of a window."""
        return self.root() / "windows" / "month" / day

    def start(self) -> subprocess.Popen[str]:
        """A process that runs all windows, or goes on with them."""
        command = [sys.executable, "-P", "-m", "falconer.workflows.cli", "backfill", "month.toml"]
        command += ["--from", self.days[0], "--to", self.days[-1]]
        unbuffered = {"PYTHONUNBUFFERED": "1", "FALCONER_TRACKING": "off"}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **unbuffered},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def prepare(folder: Path, *, small: bool) -> Month:
    """The month's files. Small: a tenth of the households, two weeks, models of seconds."""
    folder.mkdir(parents=True)
    days = DAYS[:2] if small else DAYS
    values: dict[str, Any] = {
        "recipe": "complete-journey",
        "overrides": """["features.engine='polars'"]""",
        "challengers": '["complete-journey/ease", "complete-journey/tifu_knn"]',
        "baselines": '["complete-journey/popularity", "complete-journey/personal_popularity"]',
    }
    if small:
        (folder / "purchases.toml").write_text(SMALL_RECIPE)
        events = CompleteJourney(kind="complete_journey").read().events
        chosen = events.filter(pl.col("user").cast(pl.Int64) % 10 == 0)
        chosen.select("user", "item", "time").write_parquet(folder / "purchases.parquet")
        small_models = {"challengers": '["personal_popularity"]', "baselines": '["popularity"]'}
        values |= {"recipe": "purchases.toml", "overrides": "[]", **small_models}
    (folder / "month.toml").write_text(PIPELINE.format(start=days[0], **values))
    key = folder / "retraining" / "registry" / "month" / "key"
    key.parent.mkdir(parents=True)
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    return Month(folder, days)


def copy_of(month: Month, folder: Path) -> Month:
    """The same month, not yet begun."""
    shutil.copytree(month.folder, folder)
    return Month(folder, month.days)


def run(month: Month) -> float:
    """Run the month without disturbing it; returns the seconds. `AssertionError` where it fails."""
    started = time.perf_counter()
    process = month.start()
    printed, _ = process.communicate()
    assert process.returncode == 0, printed[-2000:]
    return time.perf_counter() - started


def run_killed(month: Month, n: int, rng: random.Random) -> list[str]:
    """Run the month; kill it up to `n` times, each time a random number of steps and a random
    fraction of a second further on; returns the steps in which it was killed.

    Steps are counted, since by the clock nearly every kill would hit the longest step.
    """
    steps: list[str] = []
    while len(steps) < n:
        process = month.start()
        step = _killed(process, rng.randint(1, MOST_STEPS), rng.expovariate(1 / SECONDS_ON))
        if step is None:
            assert process.returncode == 0
            return steps
        steps.append(step)
    run(month)
    return steps


def _killed(process: subprocess.Popen[str], n: int, seconds: float) -> str | None:
    """The step in which it was, so many seconds after its `n`-th step began; None where it had
    ended."""
    assert process.stdout is not None
    begun = []
    for line in process.stdout:
        if line.startswith("-- "):
            begun.append(line)
        if len(begun) == n:
            break
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
        return None
    os.killpg(process.pid, signal.SIGKILL)
    later, _ = process.communicate()
    begun += [line for line in later.splitlines() if line.startswith("-- ")]
    return begun[-1].partition(": ")[2].split()[0]


def result(month: Month) -> dict[str, Any]:
    """What has to be the same however often the month was killed: decisions, the champion and all
    its changes, lists for everybody, and what was trained how often."""
    registry = month.root() / "registry" / "month"
    lists = month.root() / "recommendations" / "month"
    changes = (registry / "history.jsonl").read_text().splitlines()
    return {
        "decisions": {day: read_json(month.window(day) / "decision.json") for day in month.days},
        "champion": _without_run(read_json(registry / "champion.json")),
        "changes": [json.loads(line)["decision"] for line in changes],
        "lists": checksums(lists / "lists"),
        "latest": str((lists / "latest").readlink()),
        "trained": sorted(
            path.parent.name.partition("-")[2]
            for path in (month.root() / "runs" / "month").glob("*/run.json")
        ),
    }


def _without_run(champion: dict[str, Any]) -> dict[str, Any]:
    """A run's name holds the clock."""
    return {
        name: {key: part for key, part in value.items() if key != "run"}
        if isinstance(value, dict)
        else value
        for name, value in champion.items()
    }


def lines_of(month: Month) -> Iterator[str]:
    """Seconds, outcome and share of steps done already, a window a line."""
    for day in month.days:
        steps = read_json(month.window(day) / "observed.json")["steps"]
        decision = read_json(month.window(day) / "decision.json")
        assert decision["outcome"] in OUTCOMES
        seconds = sum(step["seconds"] for step in steps)
        skipped = sum(bool(step["skipped"]) for step in steps) / len(steps)
        yield (
            f"{day}: {decision['outcome']} ({decision['reason']}), {seconds:.1f} s, {skipped:.0%} "
            f"of {len(steps)} steps there already"
        )


def forget_last(month: Month) -> None:
    """Take away the last decision, so that the window is run again over what is there."""
    (month.window(month.days[-1]) / "decision.json").unlink()


def disk(month: Month) -> int:
    """Bytes of everything that the pipeline wrote."""
    return sum(path.stat().st_size for path in month.root().rglob("*") if path.is_file())


def main(arguments: list[str]) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="falconer-month-") as folder:
        fresh = prepare(Path(folder) / "fresh", small=wanted.small)
        month = copy_of(fresh, Path(folder) / "undisturbed")
        seconds = run(month)
        print(*lines_of(month), sep="\n")
        print(f"{seconds:.1f} s in all; {disk(month) / 2**20:.1f} MiB on disk")
        if not wanted.kills:
            forget_last(month)
            run(month)
            print("the last window once more, over what is there:", list(lines_of(month))[-1])
            return
        rng, months = random.Random(0), 0
        killed: list[str] = []
        while len(killed) < wanted.kills:
            again = copy_of(fresh, Path(folder) / f"killed-{months}")
            killed += run_killed(again, min(KILLS_A_MONTH, wanted.kills - len(killed)), rng)
            assert result(again) == result(month), f"month {months}: another result"
            months += 1
            shutil.rmtree(again.folder)
        print(
            f"killed at {len(killed)} random moments in {months} months: the same result each time"
        )
        steps = ", ".join(f"{step} {n}" for step, n in sorted(Counter(killed).items()))
        print(f"the step that was killed: {steps}")


if __name__ == "__main__":
    main(sys.argv[1:])
