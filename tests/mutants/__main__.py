"""`make mutants`: changes the source in small ways, one at a time, and counts the changes that no
test notices.

    python -m tests.mutants [ROOM ...] [--sample N] [--seed S] [--budget SECONDS] [--jobs N]

A change is tried with the tests of its room that execute its line, the quickest and nearest first,
as many as fit in the budget of the processor's seconds. What was found is kept in build/mutants, so
that a run that was interrupted goes on, and a change whose module and tests are as they were is not
tried again. A survivor that survivors.txt lists with its reason is counted as one, and named as
known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.mutants.changes import Change, changes_of
from tests.mutants.trial import ROOT, Outcome, Work, children, coverage, preload, trial

ROOMS: Mapping[str, tuple[str, ...]] = {
    "recsys/metrics": ("tests/unit/recsys/metrics",),
    "recsys/judging": ("tests/unit/recsys/judging",),
    "pipelines/statistics": ("tests/unit/pipelines/statistics",),
    "pipelines/etl": ("tests/unit/pipelines/etl",),
}
"""Where changes are made -> the tests that should notice."""
KEPT = ROOT / "build" / "mutants"
LISTED = Path(__file__).with_name("survivors.txt")
FILES_TOGETHER = 5
PROMISES = ("/test_constants.py::", "_knobs.py::")
"""Tests that hold what modules name, whose lines they do not execute."""
WANTED = 0.85


def main() -> None:
    """Print the score of each room and its survivors; ends with 1 where a room is below 85 %."""
    asked = _arguments()
    preload()
    KEPT.mkdir(parents=True, exist_ok=True)
    listed = reasons(LISTED.read_text(encoding="utf-8"))
    below = 0
    for room in asked.rooms or ROOMS:
        found = _room(room, asked)
        below += _say(room, found, listed) < WANTED
    raise SystemExit(1 if below else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutants")
    parser.add_argument("rooms", nargs="*", choices=[[], *ROOMS], metavar="ROOM")
    parser.add_argument("--sample", type=int, default=100, help="changes a room; 0: all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=30, help="CPU seconds of tests a change")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    return parser.parse_args()


def reasons(text: str) -> dict[str, str]:
    """Key of a change -> why it lives: lines `path | line | before -> after | reason`."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key: reason for key, _, reason in (line.rpartition(" | ") for line in lines)}


def _room(room: str, asked: argparse.Namespace) -> dict[Change, Outcome]:
    files = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / room).rglob("*.py"))]
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file in files}
    everything = [change for file in files for change in changes_of(file, sources[file])]
    chosen = everything
    if 0 < asked.sample < len(everything):
        chosen = random.Random(asked.seed).sample(everything, asked.sample)
    return _tried(chosen, sources, _coverage(room, files, asked.jobs), asked)


def _coverage(room: str, files: Sequence[str], jobs: int) -> dict[str, dict[str, Any]]:
    """What each test of the room executes, found for some files of tests at a time."""
    own = [path for folder in ROOMS[room] for path in sorted((ROOT / folder).rglob("test_*.py"))]
    parts = [own[start : start + FILES_TOGETHER] for start in range(0, len(own), FILES_TOGETHER)]
    kept = [
        (KEPT / f"lines-{_digest(*(ROOT / file for file in files), *part)}.json", part)
        for part in parts
    ]
    missing = [(path, part) for path, part in kept if not path.exists()]
    if missing:
        print(f"{room}: which lines each test executes ...", flush=True)
    works = [coverage(files, [*map(str, part)], path) for path, part in missing]
    for _, ended in children(works, jobs):
        assert ended != "too long", f"{room}: its tests take over an hour"
    found: dict[str, dict[str, Any]] = {}
    for path, _ in kept:
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _tried(
    changes: Sequence[Change],
    sources: Mapping[str, str],
    tests: Mapping[str, Any],
    asked: argparse.Namespace,
) -> dict[Change, Outcome]:
    found: dict[Change, Outcome] = {}
    works: dict[Work, tuple[Change, Path]] = {}
    for change in changes:
        names, seconds = _noticing(change, tests, asked.budget)
        source = sources[change.path]
        facts = f"{source}\n{change.number}\n{change.what}\n{names}"
        kept = KEPT / hashlib.sha256(facts.encode()).hexdigest()[:24]
        if kept.exists():
            found[change] = kept.read_text(encoding="utf-8")  # type: ignore[assignment]
        elif not names:
            found[change] = "survived"
        else:
            # Ten times what the tests take, and the start: this machine may be busy.
            works[trial(change, source, names, 60 + 10 * seconds)] = change, kept
    for work, ended in children([*works], asked.jobs):
        change, kept = works[work]
        kept.write_text(ended, encoding="utf-8")
        print(f"  {ended}: {change.path}:{change.line}: {change.what}", flush=True)
        found[change] = ended
    return found


def _noticing(change: Change, tests: Mapping[str, Any], budget: float) -> tuple[list[str], float]:
    """The tests to try, and their seconds: those that execute the line, or, where a line is
    executed at import alone, those that execute any line of the module or hold what modules
    promise. First those that are quick, and execute little but this module."""
    lines = {name: test["lines"].get(change.path, []) for name, test in tests.items()}
    exact = [name for name, found in lines.items() if change.line in found]
    promises = [name for name in lines if any(part in name for part in PROMISES)]
    names = exact or [*(name for name, found in lines.items() if found), *promises]
    chosen: list[str] = []
    total = 0.0
    for name in sorted(
        dict.fromkeys(names), key=lambda name: (_price(tests[name], change.path), name)
    ):
        total += tests[name]["seconds"]
        if total > budget and chosen:
            break
        chosen.append(name)
    return chosen, total


def _price(test: Mapping[str, Any], path: str) -> float:
    """Seconds by the share of the module among the lines that a test executes."""
    executed = sum(map(len, test["lines"].values()))
    return float(test["seconds"] + 0.01) * executed / max(1, len(test["lines"].get(path, [])))


def _say(room: str, found: Mapping[Change, Outcome], listed: Mapping[str, str]) -> float:
    lived = [change for change, outcome in found.items() if outcome == "survived"]
    score = 1 - len(lived) / max(len(found), 1)
    known = sum(change.key in listed for change in lived)
    print(f"{room}: {score:.0%} of {len(found)} changes were noticed; {known} of the others listed")
    for change in lived:
        print(f"    {change.line}: {change.key} | {listed.get(change.key, 'NOT LISTED')}")
    return score


if __name__ == "__main__":
    main()
