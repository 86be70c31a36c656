"""A training step of each torch model on the device, beside the same step on the CPU in fp32."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.training import torch as loop
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints
from falconer.pipelines.training.result import State
from falconer.pipelines.training.row_wise_adagrad import RowWiseAdagrad
from falconer.pipelines.training.weights import copy_into, tensors_of
from falconer.recsys.models import registry
from tests.gpu_check.figures import Figure, Figures, Place
from tests.support import tiny
from tests.support.datasets import checkerboard, write_labels_dataset

TOLERANCE = 1e-3
RATE = 0.05
OWN = ("falconer.recsys.", "falconer.pipelines.training.")
"""Modules whose objects hold tensors."""


class _CaptureError(Exception):
    """Carries a model's task out of its trainer."""

    def __init__(self, task: Any) -> None:
        super().__init__("captured")
        self.task = task


def _capture(task: Any, *_: Any) -> None:
    raise _CaptureError(task)


def torch_models() -> list[str]:
    """Every model that the registry has on torch."""
    return [name for name, model in registry.MODELS.items() if "torch" in model.backends]


def data_for(name: str, folder: Path) -> Dataset:
    """A small dataset of a task that the model is for, written once."""
    labels = "labels" in registry.MODELS[name].config.tasks
    path = folder / ("labels" if labels else "lists")
    if path.exists():
        return Dataset.open(path)
    return write_labels_dataset(path) if labels else checkerboard(path)


def cpu_config(name: str) -> Any:
    """The tiny configuration on the CPU in fp32."""
    config: Any = tiny.tiny_config(name)
    training = config.training.model_copy(update={"device": "cpu", "precision": "fp32"})
    return config.model_copy(update={"training": training})


def task_of(name: str, data: Dataset, root: Path) -> Any:
    """What the model's trainer gives to the training loop, on the CPU."""
    with mock.patch.object(loop, "_Loop", _capture):
        try:
            tiny.train(name, "torch", data, root, cpu_config(name))
        except _CaptureError as caught:
            return caught.task
    raise AssertionError(f"{name}: its trainer does not use the training loop")


def moved(value: Any, device: str) -> Any:
    """A copy with every tensor and module in it on the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, torch.nn.Module):
        return copy.deepcopy(value).to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(part, device) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(moved(part, device) for part in value)
    if isinstance(value, Mapping):
        return {key: moved(part, device) for key, part in value.items()}
    if not type(value).__module__.startswith(OWN) or isinstance(value, type):
        return value
    if is_dataclass(value):
        named = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        return replace(value, **{name: moved(part, device) for name, part in named.items()})
    twin = copy.copy(value)
    for name, part in getattr(value, "__dict__", {}).items():
        if name not in ("_batches", "_validation", "_validate"):
            object.__setattr__(twin, name, moved(part, device))
    return twin


def step(task: Any, batch: Any) -> float:
    """One step of gradient descent without dropout; the loss before it."""
    task.model.eval()
    task.model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with mock.patch.object(torch, "rand_like", _from_cpu):
        loss = task.loss(batch)
    loss.backward()
    with torch.no_grad():
        for parameter in task.model.parameters():
            if parameter.grad is not None:
                parameter -= RATE * parameter.grad.to_dense()
    return float(loss.detach())


def _from_cpu(like: Tensor) -> Tensor:
    """Random numbers that are the same for every device."""
    return torch.rand(like.shape, dtype=like.dtype).to(like.device)


def distance(ours: torch.nn.Module, theirs: torch.nn.Module, start: Mapping[str, Tensor]) -> float:
    """How far apart two models are, as a share of the way that the first has come from `start`."""
    apart = way = 0.0
    others = tensors_of(theirs)
    for name, tensor in tensors_of(ours).items():
        if tensor.is_floating_point():
            own = tensor.double().cpu()
            apart += float((own - others[name].double().cpu()).square().sum())
            way += float((own - start[name].double().cpu()).square().sum())
    return (apart / way) ** 0.5 if way else float("nan")


def run(place: Place) -> Figures:
    """Of each model: the loss and the weights after a step, and three steps CPU, device, CPU."""
    yield Figure("row-wise Adagrad", rows_apart(place.device), "of the way", TOLERANCE)
    for name in torch_models():
        task = task_of(name, data_for(name, place.folder), place.folder / "runs")
        batches = task.batches.epoch(0)
        batch = next(batches)
        start = {key: value.clone() for key, value in tensors_of(task.model).items()}
        twin, there = moved(task, place.device), moved(batch, place.device)
        alone = moved(task, "cpu")
        loss, other = step(task, batch), step(twin, there)
        yield Figure(f"{name}: loss", abs(loss - other) / abs(loss), "of it", TOLERANCE)
        apart = distance(task.model, twin.model, start)
        yield Figure(f"{name}: weights after a step", apart, "of the way", TOLERANCE)
        step(task, batch)
        step(task, batch)
        there_and_back(alone, batch, place)
        apart = distance(task.model, alone.model, start)
        yield Figure(f"{name}: CPU, device, CPU", apart, "of the way", TOLERANCE)


def rows_apart(device: str) -> float:
    """Of a table after a step of row-wise Adagrad with a sparse gradient, one row of it frequent,
    as a share of the way."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 300, (1, 5_000), generator=random)
    rows[:, ::2] = 7
    values = torch.randn(5_000, 16, generator=random)
    start, trained = torch.randn(300, 16, generator=random), []
    for place in ("cpu", device):
        table = torch.nn.Parameter(start.clone().to(place))
        table.grad = torch.sparse_coo_tensor(
            rows.to(place), values.to(place), table.shape, check_invariants=True
        )
        RowWiseAdagrad([table], lr=RATE).step()
        trained.append(table.detach().cpu())
    return float((trained[0] - trained[1]).norm() / (trained[0] - start).norm())


def there_and_back(task: Any, batch: Any, place: Place) -> None:
    """A step on the CPU, one on the device and one on the CPU; weights go by checkpoint files."""
    twin, there = moved(task, place.device), moved(batch, place.device)
    files = Checkpoints(place.folder / "checkpoints")
    files.directory.mkdir(exist_ok=True)
    step(task, batch)
    _handed_on(files, task.model, twin.model)
    step(twin, there)
    _handed_on(files, twin.model, task.model)
    step(task, batch)


def _handed_on(files: Checkpoints, giver: torch.nn.Module, taker: torch.nn.Module) -> None:
    tensors = {f"model.{name}": value for name, value in tensors_of(giver).items()}
    files.save_last(Checkpoint(State(), {}, tensors))
    last = files.load_last()
    assert last is not None
    copy_into(tensors_of(taker), last.part("model"), str(files.last))
