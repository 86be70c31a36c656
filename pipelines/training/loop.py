"""The one training loop, of any framework: begin or resume, step, validate, save, choose."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from falconer.pipelines import tracking
from falconer.pipelines.allocator import memory_kept
from falconer.pipelines.errors import TrainingError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints, refuse_other
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.course import METRICS, Course
from falconer.pipelines.training.losses import Losses, NotFiniteError
from falconer.pipelines.training.progress import Meter
from falconer.pipelines.training.result import FitResult
from falconer.pipelines.training.task import B, Task

T = TypeVar("T")

SECONDS_BETWEEN_MIRRORS = 30.0


class Loop(ABC, Generic[B]):
    """One fit. A framework's own loop says how weights are stepped, judged, written and read."""

    def __init__(
        self,
        task: Task[B],
        config: TrainingConfig,
        run: Run,
        name: str,
        *,
        fetch: Callable[[Sequence[Any]], Sequence[float]],
        leads: bool = True,
    ) -> None:
        """`fetch` brings losses to the host. Of several processes only one `leads` and writes."""
        self._task, self._config, self._run, self._batches = task, config, run, task.batches
        self._course = Course(config, run, name, len(self._batches), leads=leads)
        self._checkpoints = Checkpoints(run.path / "checkpoints" / name)
        self._losses = Losses(fetch)
        self._saved_step = 0
        self._mirrored = time.monotonic()

    def run(self) -> FitResult:
        """Begin or resume, train, and choose the weights."""
        self._begin()
        if self._course.state.ended is None:
            try:
                with memory_kept():
                    self._train()
            except NotFiniteError as error:
                raise self._explained(error) from error
        self._task.model.eval()
        self._choose()
        return self._course.finish()

    # What a framework does

    @abstractmethod
    def _surroundings(self) -> dict[str, Any]:
        """Its version, threads and device: a resumed training wants the same."""

    @abstractmethod
    def _load(self, last: Checkpoint) -> None:
        """Take weights, averages and the optimisers' state over."""

    def _ready(self) -> None:
        """What is to be done once the first weights are there."""

    @abstractmethod
    def _step(self, group: Sequence[B], factor: float) -> tuple[Any, int]:
        """One update with the gradient of the mean loss over all rows of the group, with learning
        rates of `factor` x the full ones; returns that loss, on the device, and the rows."""

    @abstractmethod
    def _refuse_not_finite(self) -> None:
        """`NotFiniteError` that names the first weight that is not finite."""

    @abstractmethod
    def _judged(self) -> AbstractContextManager[None]:
        """Within the block `task.model` holds the weights that are validated, in evaluation
        mode."""

    def _metrics(self) -> Mapping[str, float]:
        """What the validation gives."""
        return dict(self._task.validate())

    @abstractmethod
    def _save_best(self) -> None:
        """Write the judged weights as the best."""

    @abstractmethod
    def _save(self) -> None:
        """Replace the last checkpoint, by `_write`."""

    @abstractmethod
    def _choose(self) -> None:
        """Give `task.model` the best weights."""

    # Begin and resume

    def _begin(self) -> None:
        if not len(self._batches):
            raise TrainingError(
                f"{self._run.path}: there is no batch to train on; is the dataset's train part "
                "empty?"
            )
        last = self._checkpoints.load_last()
        if self._checkpoints.passed_over is not None:
            self._course.say(self._checkpoints.passed_over)
        if last is not None:
            refuse_other(self._checkpoints.last, last.facts, self._facts())
            self._load(last)
            self._saved_step = last.state.step
            self._course.go_on(last.state)
        else:
            self._save()
        self._ready()

    def _facts(self) -> dict[str, Any]:
        """What must not change between a checkpoint and the training that goes on from it, as JSON
        has it."""
        info = self._run.info
        facts = {
            "config": self._config.model_dump(mode="json"),
            **self._surroundings(),
            "batches": len(self._batches),
            "dataset_id": info.get("dataset_id"),
            "id_space": info.get("id_space"),
        }
        return dict(json.loads(json.dumps(facts)))

    def _explained(self, error: NotFiniteError) -> TrainingError:
        epoch = (self._course.state.step - 1) // self._course.steps_per_epoch
        return TrainingError(
            f"{self._run.path}: {error} (epoch {epoch}); the last good "
            f"checkpoint is {self._checkpoints.last}, of step {self._saved_step}. Try a lower "
            "training.learning_rate "
            "or training.clip_norm, and look for extreme values in the data"
        )

    # Steps

    def _train(self) -> None:
        with self._course.begin() as meter:
            for group in self._course.groups(self._batches):
                self._advance(group, meter)
                self._after_step()
                if self._course.state.ended:
                    return

    def _advance(self, group: Sequence[B], meter: Meter) -> None:
        loss, rows = self._step(group, self._course.next_factor())
        self._losses.add(loss, rows)
        self._course.stepped(rows)
        meter.advance(rows)

    def _after_step(self) -> None:
        """Validate and save where it is time for it."""
        course = self._course
        if course.saves_now or self._losses.are_due:
            self._losses.check_into(course.state)
        if not course.saves_now:
            return
        course.state.step_seconds += course.tick()
        self._refuse_not_finite()
        if course.validates_now:
            self._validate()
        course.tick()
        self._save()
        if not course.state.ended:  # writing is no part of the next steps
            course.tick()

    def _validate(self) -> None:
        with self._judged():
            if self._course.judge(self._metrics()):
                self._save_best()

    def _write(
        self, tensors: Mapping[str, Any], numbers: Mapping[str, float] | None = None
    ) -> None:
        """Write the last checkpoint; what MLflow is told is never cut back, so it is told here and
        not before."""
        state = self._course.state
        state.metrics_bytes = self._run.settle(METRICS)
        self._checkpoints.save_last(Checkpoint(state, self._facts(), tensors, numbers or {}))
        self._saved_step = state.step
        if time.monotonic() - self._mirrored > SECONDS_BETWEEN_MIRRORS:
            tracking.mirror(self._run.path)
            self._mirrored = time.monotonic()


def joined(parts: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """The parts of a checkpoint as one table, by "<part>.<name>"."""
    return {
        f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()
    }
