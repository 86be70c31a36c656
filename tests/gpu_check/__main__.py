"""What holds and how fast it is on this machine's GPU: every part in a process of its own, with a
limit of time, and figures that are kept as they come.

    python -m tests.gpu_check [--small] [--out FOLDER] [--only PART ...]

Without a GPU, or with --small, everything runs in small on the CPU: that shows that the check works
and says nothing about a GPU. Ends with 1 where a part failed or a figure broke its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Timer
from typing import Any

from falconer.pipelines.files import write_json
from tests.gpu_check.figures import AbsentError, Figure, Place, figure_of

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures" / "gpu"
SECONDS = 480
"""Of the whole check."""
ABSENT = 3
"""Exit status of a part that has nothing to run here."""


@dataclass(frozen=True)
class Part:
    """One part: the function that yields its figures, its argument, and its limit of time."""

    name: str
    title: str
    function: str
    seconds: float
    arguments: tuple[str, ...] = ()


SPEED = ("ncf", "vae_cf", "dlrm", "wide_deep", "sasrec", "bert4rec")
PARTS = (
    Part("lists", "Lists and metrics as on the CPU", "lists:run", 60),
    Part("steps", "A training step as on the CPU, fp32", "steps:run", 90),
    Part("trained", "Trained on the device, exported", "trained:run", 90),
    Part("users", "Factors to lists and metrics", "lists:speed", 60),
    *(Part(name, f"Speed of {name}, bf16, compiled", "speed:run", 120, (name,)) for name in SPEED),
    *(
        Part(name, f"Speed of {title}", "later:run", 120, (name,))
        for name, title in (
            ("resnet50", "ResNet-50"),
            ("ssd300", "SSD300"),
            ("tensorflow", "the TensorFlow trainers"),
        )
    ),
    Part("etl", "ETL on cuDF as on Polars", "etl:run", 90),
)
"""In the order of their value: where time runs out, it is the last ones that are missing."""


@dataclass
class Outcome:
    """What became of a part."""

    name: str
    title: str
    state: str = "no time left"
    seconds: float = 0.0
    message: str = ""
    figures: list[dict[str, Any]] = field(default_factory=list)


def device_name(*, small: bool) -> str:
    """Of the GPU, or of the CPU in its place."""
    import torch

    if not small:
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()})"


def file_name(device: str, moment: datetime) -> str:
    """<device>-<date>.json, of letters, digits and dashes."""
    return f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}-{moment:%Y-%m-%d}.json"


def run_part(part: Part, place: Place) -> int:
    """In the part's own process: print its figures; the exit status."""
    import importlib

    module, _, function = part.function.partition(":")
    work = getattr(importlib.import_module(f"tests.gpu_check.{module}"), function)
    try:
        for figure in work(place, *part.arguments):
            print(figure.line(), flush=True)
    except AbsentError as absent:
        print(absent, flush=True)
        return ABSENT
    return 0


def check(parts: Sequence[Part], place: Place, seconds: float) -> Iterator[Outcome]:
    """Run the parts; each outcome is given out whenever it has changed."""
    end = time.monotonic() + seconds
    for part in parts:
        outcome = Outcome(part.name, part.title)
        left = min(float(part.seconds), end - time.monotonic())
        if left > 1:
            yield from _ran(part, place, left, outcome)
        yield outcome


def _ran(part: Part, place: Place, seconds: float, outcome: Outcome) -> Iterator[Outcome]:
    """The outcome after each figure of the part's process, which ends with the limit of time."""
    command = [sys.executable, "-m", "tests.gpu_check", "--part", part.name]
    command += ["--shared", str(place.folder), *(["--small"] if place.small else [])]
    found = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(found), "FALCONER_TRACKING": "off"}
    environment = {**os.environ, **environment}
    started, late = time.monotonic(), []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:

        def kill() -> None:
            late.append(True)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

        timer = Timer(seconds, kill)
        timer.start()
        last, outcome.state = "", "running"
        assert child.stdout is not None
        for line in child.stdout:
            figure = figure_of(line)
            if figure is None:
                last = line.strip() or last
                continue
            outcome.figures.append(figure.row())
            outcome.seconds = round(time.monotonic() - started, 1)
            yield outcome
        status = child.wait()
        timer.cancel()
    outcome.seconds = round(time.monotonic() - started, 1)
    outcome.state = "out of time" if late else {0: "done", ABSENT: "absent"}.get(status, "failed")
    outcome.message = "" if outcome.state == "done" else last[:300]


def value_of(figure: dict[str, Any]) -> str:
    """The value and its unit."""
    value = "not finite" if figure["value"] is None else f"{figure['value']:,.6g}"
    return f"{value} {figure['unit']}".strip()


def said(outcome: Outcome, figure: dict[str, Any]) -> str:
    """A figure as a line for readers."""
    limit = figure["limit"]
    against = "" if limit is None else f"  limit {limit:g}: {_word(holds=figure['holds'])}"
    beside = f"  ({figure['beside']})" if figure["beside"] else ""
    return f"{outcome.name:10} {figure['what']:45} {value_of(figure)}{against}{beside}"


def _word(*, holds: bool) -> str:
    return "holds" if holds else "BROKEN"


def facts(*, small: bool, moment: datetime) -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    return {
        "device": device_name(small=small),
        "small": small,
        "date": f"{moment:%Y-%m-%d}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "falconer": _version(),
    }


def _version() -> str:
    try:
        return version("falconer")
    except ImportError:
        return "a checkout"


def main(arguments: list[str]) -> int:
    """Run the check, or one part of it in its own process."""
    options = _options().parse_args(arguments)
    import torch

    small = options.small or not torch.cuda.is_available()
    device = "cpu" if small else "cuda"
    named = {part.name: part for part in PARTS}
    if options.part:
        return run_part(named[options.part], Place(small, device, options.shared))
    moment = datetime.now(UTC)
    known = facts(small=small, moment=moment)
    if small:
        print("NO GPU IN USE: small sizes on the CPU; these figures say nothing about a GPU")
    print(f"{known['device']}, torch {known['torch']}, Python {known['python']}", flush=True)
    chosen = [named[name] for name in options.only] if options.only else PARTS
    out = options.out / file_name(known["device"], moment)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = _kept(chosen, Place(small, device, Path(folder)), known, out)
    print(f"figures: {out}")
    return int(any(not good(outcome) for outcome in outcomes))


def good(outcome: Outcome) -> bool:
    """Whether a part did what it should, or has nothing to do here."""
    return outcome.state in ("done", "absent") and all(row["holds"] for row in outcome.figures)


def _kept(chosen: Sequence[Part], place: Place, known: dict[str, Any], out: Path) -> list[Outcome]:
    """The outcomes, written to the file after every figure, beside those of other parts that were
    measured there on the same day and software."""
    outcomes: dict[str, Outcome] = {}
    earlier = _earlier(out, known)
    shown: dict[str, int] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    for outcome in check(chosen, place, SECONDS):
        outcomes[outcome.name] = outcome
        for figure in outcome.figures[shown.get(outcome.name, 0) :]:
            print(said(outcome, figure), flush=True)
        shown[outcome.name] = len(outcome.figures)
        if outcome.state != "running":
            print(f"{outcome.name:10} {outcome.state} in {outcome.seconds} s {outcome.message}")
        rows = earlier | {name: asdict(each) for name, each in outcomes.items()}
        write_json(
            out, {**known, "parts": [rows[part.name] for part in PARTS if part.name in rows]}
        )
    return list(outcomes.values())


def _earlier(out: Path, known: dict[str, Any]) -> dict[str, Any]:
    """The parts in the file, by name; none where they are of other software or sizes."""
    if not out.exists():
        return {}
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    parts = {part["name"]: part for part in found.pop("parts")}
    return parts if found == known else {}


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes on the CPU")
    parser.add_argument("--out", type=Path, default=FIGURES, help="where the figures go")
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, help="these parts only")
    parser.add_argument("--part", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--shared", type=Path, help=argparse.SUPPRESS)
    return parser


__all__ = ["PARTS", "Figure", "Outcome", "Part", "check", "main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
