"""Samples a second of one model at the published size, beside the published figure and the
device's roofline; the sizes are those of the benchmark `tests.benchmarks.gpu`."""

from __future__ import annotations

import torch

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.models import registry
from tests.benchmarks import gpu
from tests.gpu_check.figures import Figure, Figures, Place

PARTS_OF_DATA = {"sasrec": 2, "bert4rec": 2}
"""Half of the users are enough where an epoch takes long: the steps are the same."""


def run(place: Place, model: str) -> Figures:
    """Of the second half, in which nothing is compiled."""
    size = gpu.SMALL if place.device == "cpu" else gpu.FULL
    part = PARTS_OF_DATA.get(model, 1)
    data, few = (data_of(model, place, size, part * share) for share in (1, gpu.COUNTED))
    found = gpu.measured(model, size, data, few, place.folder / "runs")
    yield Figure("speed", found.samples_per_second, "samples/s", beside=published(model))
    yield Figure("parameters", found.parameters, "")
    yield Figure("products", found.flops_per_sample, "FLOP a sample")
    device = torch.device(place.device)
    full = place.device != "cpu"
    dtype = torch.bfloat16 if full else torch.float32
    best = gpu.machine(device, dtype, n=8192 if full else 512)
    yield Figure("best product", best.flops / 1e12, "TFLOP/s")
    yield Figure("best copy", best.bytes_per_second / 1e9, "GB/s")
    share = found.samples_per_second * found.flops_per_sample / best.flops
    yield Figure("share of the best product", 100 * share, "%")
    if "tables" in size.knobs.get(model, {}):
        return  # a step moves the batch's rows only
    moved = found.steps_per_second * found.parameters * 4 * gpu.ADAM_PASSES
    yield Figure("share of the best copy", 100 * moved / best.bytes_per_second, "%")


def published(model: str) -> str:
    """The figure printed for one A100, where there is one."""
    return f"A100: {gpu.A100[model]}" if model in gpu.A100 else ""


def data_of(model: str, place: Place, size: gpu.Size, part: int) -> Dataset:
    """Random data, made once for all models of a task."""
    labels = getattr(registry.MODELS[model].config, "needs_features", False)
    path = place.folder / f"{size.name}-{'clicks' if labels else 'events'}-{part}"
    if path.exists():
        return Dataset.open(path)
    return (size.clicks if labels else size.events)(path, part)
