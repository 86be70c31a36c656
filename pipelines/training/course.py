"""The course of one fit: where it stands, when it validates and ends, and what it writes about
itself. No framework is needed here."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from falconer.pipelines.errors import ConfigError, TrainingError
from falconer.pipelines.runs import Run
from falconer.pipelines.training import schedules
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.losses import refuse_metrics_not_finite
from falconer.pipelines.training.progress import Meter
from falconer.pipelines.training.refit import keep_chosen, total_steps
from falconer.pipelines.training.result import FitResult, State

if TYPE_CHECKING:
    from falconer.pipelines.training.task import B, Batches

METRICS = "metrics.jsonl"


class Course:
    """What a fit decides and records, given the numbers that a framework has computed."""

    def __init__(
        self, config: TrainingConfig, run: Run, name: str, batches: int, *, leads: bool
    ) -> None:
        """`batches` are those of an epoch. Only the process that `leads` writes lines."""
        self._config, self._run, self._name, self._leads = config, run, name, leads
        self.steps_per_epoch = math.ceil(batches / config.accumulate)
        self.total = total_steps(config, run, name, self.steps_per_epoch)
        self._steps_between_validations = max(
            1, round(config.validate_every * self.steps_per_epoch)
        )
        self.state = State()
        self._factor = 1.0
        self._clock = time.perf_counter()

    # Where it stands

    def go_on(self, state: State) -> None:
        """Stand where a checkpoint was written, and drop the lines that came after it."""
        self.state = state
        if self._leads and state.ended is None:
            self._run.cut(METRICS, state.metrics_bytes)
            self.say(f"goes on at step {state.step} of {self.total}")

    def begin(self) -> Meter:
        """Say what is to come, and start the clock; the meter shows how far it is."""
        self.say(
            f"{self.total - self.state.step:,} steps of {self.total:,} to go, "
            f"{self.steps_per_epoch:,} an epoch; the time that is left follows (fewer "
            "training.epochs take less, and what Ctrl-C ends goes on with --resume)"
        )
        self._clock = time.perf_counter()
        label = f"training {self._name}".strip()
        return Meter(label, done=self.state.step, total=self.total, shown=self._leads)

    def groups(self, batches: Batches[B]) -> Iterator[list[B]]:
        """The batches of each step that is left, epoch by epoch."""
        for epoch in range(self.state.step // self.steps_per_epoch, self._config.epochs):
            done = self.state.step - epoch * self.steps_per_epoch
            left = batches.epoch(epoch, start=done * self._config.accumulate)
            while group := list(islice(left, self._config.accumulate)):
                yield group
            if self.state.step != (epoch + 1) * self.steps_per_epoch:
                raise TrainingError(
                    f"epoch {epoch} ended at step {self.state.step}: it has fewer batches than it "
                    "says"
                )

    def next_factor(self) -> float:
        """What the learning rates of the coming step are multiplied by."""
        self._factor = schedules.factor_at(
            self._config, self.state, steps_per_epoch=self.steps_per_epoch
        )
        return self._factor

    def stepped(self, rows: int) -> None:
        """Count one step over so many rows."""
        self.state.step += 1
        self.state.samples += rows

    @property
    def validates_now(self) -> bool:
        """Whether a validation follows the step."""
        step = self.state.step
        return step % self._steps_between_validations == 0 or step == self.total

    @property
    def saves_now(self) -> bool:
        """Whether a checkpoint follows the step."""
        every = self._config.checkpoint_every
        return self.validates_now or (every is not None and self.state.step % every == 0)

    def tick(self) -> float:
        """Seconds since the last call, which are added to those of the fit."""
        before, self._clock = self._clock, time.perf_counter()
        self.state.seconds += self._clock - before
        return self._clock - before

    # Validations

    def judge(self, metrics: Mapping[str, float]) -> bool:
        """Take a validation's metrics in: whether these weights are the best so far, how the rates
        go on, whether training ends here, and the lines about it. Returns whether they are.

        Raises `NotFiniteError`, and `ConfigError` where the monitored metric is not among them.
        """
        state, config = self.state, self._config
        values = {"loss": state.loss_sum / state.loss_rows, **metrics}
        better = self._is_better(values)
        if better:
            state.best_step = state.step
            state.best_metric = values[config.monitor] if config.monitor else None
        state.stale = 0 if better else state.stale + 1
        rate = config.learning_rate * self._factor
        schedules.after_validation(config, state, better=better)
        if state.step == self.total:
            state.ended = "epochs"
        elif config.patience and state.stale >= config.patience:
            state.ended = "patience"
        if self._leads:
            self._log({**values, "learning_rate": rate}, better=better)
        state.loss_sum, state.loss_rows = 0.0, 0
        return better

    def _is_better(self, values: Mapping[str, float]) -> bool:
        monitor, best = self._config.monitor, self.state.best_metric
        refuse_metrics_not_finite(values)
        if monitor is None:
            return True
        if monitor not in values:
            raise ConfigError(
                f"training.monitor is {monitor!r}, and the validation gives {', '.join(values)}"
            )
        value = values[monitor]
        return best is None or (value > best if self._config.mode == "max" else value < best)

    def _log(self, values: Mapping[str, float], *, better: bool) -> None:
        """The step's line in `metrics.jsonl`, in `timing.jsonl`, and for a reader."""
        state, prefix = self.state, f"{self._name}/" if self._name else ""
        epoch = state.step / self.steps_per_epoch
        line = {"epoch": epoch, **values}
        self._run.log_metrics(state.step, {f"{prefix}{key}": value for key, value in line.items()})
        speed = state.samples / state.step_seconds
        timing = {"fit_seconds": state.seconds, "samples_per_second": speed}
        self._run.log_timing(**{f"{prefix}{key}": value for key, value in timing.items()})
        figures = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        chosen = " (best)" if better and self._config.monitor else ""
        self.say(f"step {state.step}, epoch {epoch:.4g}: {figures}{chosen}; {speed:,.0f} samples/s")

    def say(self, text: str) -> None:
        """A line for a reader, that names the fit."""
        self._run.log(f"{self._name}: {text}" if self._name else text)

    # The end

    def finish(self) -> FitResult:
        """How it went; the run keeps the epoch that was chosen."""
        state = self.state
        keep_chosen(self._run, self._name, state.best_step / self.steps_per_epoch)
        return FitResult(
            steps=state.step,
            epochs=state.step / self.steps_per_epoch,
            best_step=state.best_step,
            best_metric=state.best_metric,
            ended=state.ended or "epochs",
            samples=state.samples,
            seconds=state.seconds,
            samples_per_second=state.samples / state.step_seconds,
        )
