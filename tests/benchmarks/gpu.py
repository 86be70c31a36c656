"""Samples a second of every torch model on random data, beside published figures and the machine's
roofline.

    python -m tests.benchmarks.gpu [--small]

On a GPU: bf16, compiled, at the sizes of the published figures. Without one, or with --small, it
says so and uses small sizes in fp32, to show that it works. A model's own trainer trains two
epochs, or as many as give it enough steps; the second half is timed.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints
from falconer.recsys.models import registry
from tests.benchmarks.random_data import SIZES, click_logs, event_logs
from tests.support import tiny

A100: Mapping[str, str] = {
    "ncf": "34.1 M samples/s",
    "vae_cf": "365 k users/s",
    "dlrm": "4.0-4.55 M samples/s (small)",
    "wide_deep": "2.31 M samples/s",
}
"""NVIDIA DeepLearningExamples on one A100, mixed precision, with its own data: no more than an
orientation."""

COUNTED = 16
"""Operations are counted over one in so many rows."""
Knobs = Mapping[str, Mapping[str, Any]]
SEQUENCES = {"dim": 256, "feed_forward": 1024, "max_length": 200, "batch_size": 256}
LARGE: Knobs = {
    "ncf": {
        "dim": 64,
        "mlp_dim": 128,
        "hidden": (256, 256, 128, 64),
        "batch_size": 209_715,
    },
    "vae_cf": {"hidden": (600,), "dim": 200, "batch_size": 8192},
    "dlrm": {
        "dim": 128,
        "bottom_hidden": (512, 256),
        "hidden": (1024, 1024, 512, 256),
        "tables": {"gradients": "sparse"},
        "batch_size": 65_536,
    },
    "wide_deep": {"dim": 32, "hidden": (1024,) * 5, "batch_size": 131_072},
    "sasrec": SEQUENCES,
    "bert4rec": SEQUENCES,
}
"""The published models' sizes, as far as ours have the same knobs; a model that is not named has
its defaults."""


@dataclass(frozen=True)
class Size:
    """How much data there is, and which knobs the models have."""

    name: str
    clicks: Callable[[Path, int], Dataset]
    events: Callable[[Path, int], Dataset]
    """Of a folder and a divisor: all rows, or a share of them with the same ids."""
    knobs: Knobs
    training: Mapping[str, Any]
    epochs: Mapping[str, int]
    """Of models whose epoch has few steps; 2 of the others."""


FULL = Size(
    "full",
    lambda root, part: click_logs(
        root, n_rows=4_194_304 // part, sizes=tuple(4 * size for size in SIZES)
    ),
    lambda root, part: event_logs(
        root, n_rows=8_000_000 // part, n_users=55_000 // part, n_items=26_744
    ),
    LARGE,
    {"precision": "bf16", "compile": True, "device": "cuda"},
    {"vae_cf": 40},
)
SMALL = Size(
    "small",
    lambda root, part: click_logs(root, n_rows=600, sizes=(3, 50, 400)),
    lambda root, part: event_logs(root, n_rows=600, n_users=60, n_items=40),
    {**tiny.TINY, "wide_deep": {**tiny.TINY["wide_deep"], "crosses": ()}},
    {"precision": "fp32", "compile": False, "device": "cpu", "threads": 1},
    {},
)


@dataclass(frozen=True)
class Figures:
    """What was measured of one model."""

    samples_per_second: float
    steps_per_second: float
    flops_per_sample: float
    parameters: int


@dataclass(frozen=True)
class Machine:
    """What the device does at best: products of large matrices, and copies."""

    flops: float
    bytes_per_second: float


def models() -> list[str]:
    """Every model that the registry has on torch."""
    return [name for name, model in registry.MODELS.items() if "torch" in model.backends]


def config_of(name: str, size: Size, **changes: Any) -> Any:
    """The model with the size's knobs and epochs, the last weights kept."""
    kind: Any = registry.MODELS[name].config
    knobs = {key: value for key, value in size.knobs.get(name, {}).items() if key != "training"}
    epochs = size.epochs.get(name, 2)
    usual = {"epochs": epochs, "validate_every": epochs / 2, "monitor": None, "patience": None}
    training = type(kind().training)(**{**usual, **size.training, **changes})
    return kind(**knobs, training=training)


def measured(name: str, size: Size, data: Dataset, few: Dataset, root: Path) -> Figures:
    """Train, and an epoch of `few` that counts the operations of the products."""
    run = tiny.train(name, "torch", data, root, config_of(name, size))
    first, both = (line["samples_per_second"] for line in run.read_lines("timing.jsonl"))
    last = last_checkpoint(run)
    with FlopCounterMode(display=False) as counter:
        once = config_of(name, size, epochs=1, validate_every=1.0, compile=False)
        other = tiny.train(name, "torch", few, root, once)
    samples = last_checkpoint(other).state.samples
    speed = 1 / (2 / both - 1 / first)  # of the second half alone: the first one compiles
    parameters = sum(tensor.numel() for tensor in last.part("model").values())
    return Figures(
        speed,
        speed * last.state.step / last.state.samples,
        counter.get_total_flops() / samples,
        parameters,
    )


def last_checkpoint(run: Run) -> Checkpoint:
    """Of a run that has trained."""
    last = Checkpoints(run.path / "checkpoints").load_last()
    assert last is not None
    return last


def machine(device: torch.device, dtype: torch.dtype, *, n: int) -> Machine:
    """Measured with matrices [n, n]: the best of several products and copies."""
    a, b, out = (torch.rand(n, n, device=device).to(dtype) for _ in range(3))
    product = _best_seconds(lambda: torch.mm(a, b, out=out), device)
    copy = _best_seconds(lambda: out.copy_(a), device)
    return Machine(2 * n**3 / product, 2 * a.numel() * a.element_size() / copy)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    found = []
    for _ in range(10):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found)


ADAM_PASSES = 8
"""Times that a step of Adam with dense gradients moves every weight: zeroing and adding to the
gradient, reading it, reading and writing the weight and its two moments."""


def line(name: str, found: Figures, best: Machine) -> str:
    """One row of the table."""
    flops = found.samples_per_second * found.flops_per_sample / best.flops
    moved = found.steps_per_second * found.parameters * 4 * ADAM_PASSES / best.bytes_per_second
    return (
        f"{name:10} {found.samples_per_second:14,.0f} {found.parameters:14,} "
        f"{found.flops_per_sample:12,.0f} "
        f"{flops:10.1%} {moved:10.1%}   {A100.get(name, '-')}"
    )


def report(size: Size, folder: Path) -> list[str]:
    """Train every model; the lines of the report."""
    full = size is FULL
    device = torch.device("cuda" if full else "cpu")
    name = (
        torch.cuda.get_device_name()
        if full
        else f"CPU ({platform.processor() or platform.machine()})"
    )
    best = machine(device, torch.bfloat16 if full else torch.float32, n=8192 if full else 512)
    clicks, events = (
        tuple(make(folder / f"{kind}-{part}", part) for part in (1, COUNTED))
        for kind, make in (("clicks", size.clicks), ("events", size.events))
    )
    lines = [
        f"{name}, torch {torch.__version__}, {size.name} size, "
        f"products {best.flops / 1e12:.2f} TFLOP/s, copies {best.bytes_per_second / 1e9:.0f} GB/s",
        f"{'model':10} {'samples/s':>14} {'parameters':>14} {'FLOP/sample':>12} {'of product':>10} "
        f"{'of copies':>10}   "
        "published for one A100",
    ]
    if not full:
        lines.insert(
            0,
            "NO GPU IN USE: small sizes in fp32 on the CPU; these figures say nothing about a GPU",
        )
    for model in models():
        data = clicks if getattr(registry.MODELS[model].config, "needs_features", False) else events
        lines.append(line(model, measured(model, size, *data, folder / "runs"), best))
    lines += [
        "samples: pairs (ncf), users (vae_cf), rows (dlrm, wide_deep), sequences or places as the "
        "models count them",
        "of product: the model's own products, forward and backward, beside the best product of "
        "large matrices",
        "of copies: what Adam alone moves in a step, beside the best copy; both are lower bounds "
        "of the time",
    ]
    return lines


def main(arguments: list[str]) -> None:
    """Print the report."""
    os.environ.setdefault("FALCONER_TRACKING", "off")
    size = SMALL if "--small" in arguments or not torch.cuda.is_available() else FULL
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(report(size, Path(folder))))


if __name__ == "__main__":
    main(sys.argv[1:])
