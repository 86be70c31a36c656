"""The one training loop."""

from __future__ import annotations

import time

import torch

from pipelines.runs import Run
from pipelines.training.config import TrainingConfig
from pipelines.training.devices import device_of, torch_settings
from pipelines.training.result import FitResult
from pipelines.training.task import B, Task


def fit(task: Task[B], config: TrainingConfig, run: Run, *, name: str = "") -> FitResult:
    """Train `task.model`, which holds the chosen weights afterwards. `name` tells the fits of one run apart."""
    optimizer = torch.optim.Adam(task.parameter_groups(), lr=config.learning_rate)
    started, samples, step = time.perf_counter(), 0, 0
    with torch_settings(config, device_of(config)):
        for epoch in range(config.epochs):
            task.model.train()
            for batch in task.batches.epoch(epoch):
                optimizer.zero_grad()
                task.loss(batch).backward()
                optimizer.step()
                samples, step = samples + task.size(batch), step + 1
            task.model.eval()
            with torch.no_grad():
                run.log_metrics(step, task.validate())
    seconds = time.perf_counter() - started
    return FitResult(step, config.epochs, step, None, "epochs", samples, seconds, samples / seconds)
