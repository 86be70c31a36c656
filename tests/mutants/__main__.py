"""`make mutants`: changes the source in small ways, one at a time, and counts the changes that no
test notices.

    python -m tests.mutants [ROOM ...] [--sample N] [--seed S] [--budget SECONDS]

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

from tests.mutants.changes import Change, changed, changes_of
from tests.mutants.trial import ROOT, Outcome, coverage, outcome, preload

ROOMS: Mapping[str, tuple[str, ...]] = {
    "recsys/metrics": ("tests/unit/recsys/metrics",),
    "recsys/judging": ("tests/unit/recsys/judging",),
    "pipelines/statistics": ("tests/unit/pipelines/statistics",),
    "pipelines/etl": ("tests/unit/pipelines/etl",),
}
"""Where changes are made -> the tests that should notice."""
KEPT = ROOT / "build" / "mutants"
LISTED = Path(__file__).with_name("survivors.txt")
CONSTANTS = "/test_constants.py::"
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
    parser.add_argument(
        "--budget", type=float, default=30, help="processor's seconds of tests a change"
    )
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
    tests = _coverage(room, files)
    return {change: _try(change, sources[change.path], tests, asked.budget) for change in chosen}


def _coverage(room: str, files: Sequence[str]) -> dict[str, dict[str, Any]]:
    own = [path for folder in ROOMS[room] for path in sorted((ROOT / folder).rglob("*.py"))]
    target = KEPT / f"lines-{_digest(*(ROOT / file for file in files), *own)}.json"
    if not target.exists():
        print(f"{room}: which lines each test executes ...", flush=True)
        target.write_text(json.dumps(coverage(files, ROOMS[room])), encoding="utf-8")
    return json.loads(target.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _try(change: Change, source: str, tests: Mapping[str, Any], budget: float) -> Outcome:
    names, seconds = _noticing(change, tests, budget)
    facts = f"{source}\n{change.number}\n{names}"
    kept = KEPT / hashlib.sha256(facts.encode()).hexdigest()[:24]
    if kept.exists():
        return kept.read_text(encoding="utf-8")  # type: ignore[return-value]
    tree = changed(source, change.number)
    # Ten times what the tests take, and the start: this machine may be busy.
    found = outcome(change.path, tree, names, 60 + 10 * seconds) if names else "survived"
    kept.write_text(found, encoding="utf-8")
    print(f"  {found}: {change.path}:{change.line}: {change.what}", flush=True)
    return found


def _noticing(change: Change, tests: Mapping[str, Any], budget: float) -> tuple[list[str], float]:
    """The tests to try, and their seconds: those that execute the line, or, where a line is
    executed at import alone, those that execute any line of the module, and what holds the numbers
    that it names. First those that are quick, and execute little but this module."""
    lines = {name: test["lines"].get(change.path, []) for name, test in tests.items()}
    exact = [name for name, found in lines.items() if change.line in found]
    names = exact or [name for name, found in lines.items() if found or CONSTANTS in name]
    chosen: list[str] = []
    total = 0.0
    for name in sorted(names, key=lambda name: (_price(tests[name], change.path), name)):
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
