"""What a fit decides and records, without a framework."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines.errors import ConfigError, TrainingError
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.course import Course
from falconer.pipelines.training.losses import Losses, NotFiniteError
from falconer.pipelines.training.result import State
from tests.support.small_training import new_run


class Numbered:
    """Batches that are their own number; epoch 1 may be short of some."""

    def __init__(self, n: int, missing: int = 0) -> None:
        self._n, self._missing = n, missing

    def __len__(self) -> int:
        return self._n

    def epoch(self, number: int, *, start: int = 0) -> Iterator[int]:
        return iter(range(start, self._n - (self._missing if number == 1 else 0)))


def course(root: Path, *, batches: int = 5, **knobs: Any) -> Course:
    return Course(TrainingConfig(**knobs), new_run(root), "", batches, leads=True)


def walk(one: Course, batches: Numbered) -> list[list[int]]:
    """The batches of every step that is left."""
    groups = []
    for group in one.groups(batches):
        groups.append(group)
        one.stepped(len(group))
    return groups


def validated(one: Course, **metrics: float) -> bool:
    """One step of one row, and its validation."""
    one.stepped(1)
    one.state.loss_sum, one.state.loss_rows = 0.5, 1
    one.state.step_seconds += 1.0
    return one.judge(metrics)


def test_an_epoch_is_cut_into_groups_and_the_last_one_is_smaller(tmp_path: Path) -> None:
    one = course(tmp_path, epochs=2, accumulate=2)
    assert walk(one, Numbered(5)) == [[0, 1], [2, 3], [4]] * 2
    assert one.state.samples == 10


def test_it_goes_on_within_an_epoch(tmp_path: Path) -> None:
    one = course(tmp_path, epochs=2, accumulate=2)
    one.go_on(State(step=4))
    assert walk(one, Numbered(5)) == [[2, 3], [4]]


def test_an_epoch_that_is_too_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epoch 1 ended at step 9"):
        walk(course(tmp_path, epochs=2), Numbered(5, missing=1))


def test_validations_and_checkpoints_fall_on_their_steps(tmp_path: Path) -> None:
    one = course(tmp_path, epochs=2, validate_every=0.4, checkpoint_every=3)
    moments = []
    for _ in range(one.total):
        one.stepped(1)
        moments.append((one.validates_now, one.saves_now))
    assert [step for step, (now, _) in enumerate(moments, 1) if now] == [2, 4, 6, 8, 10]
    assert [step for step, (_, now) in enumerate(moments, 1) if now] == [2, 3, 4, 6, 8, 9, 10]


def test_the_best_is_remembered_until_patience_ends(tmp_path: Path) -> None:
    one = course(tmp_path, epochs=9, monitor="error", mode="min", patience=2)
    assert [validated(one, error=value) for value in (3.0, 2.0, 2.0)] == [True, True, False]
    assert one.state.ended is None
    assert not validated(one, error=4.0)
    assert (one.state.ended, one.state.best_step, one.state.best_metric) == ("patience", 2, 2.0)
    result = one.finish()
    assert (result.steps, result.best_step, result.samples_per_second) == (4, 2, 1.0)


def test_a_line_has_the_rate_that_its_steps_had(tmp_path: Path) -> None:
    plateau = {"kind": "plateau", "patience": 0, "factor": 0.5}
    one = course(tmp_path, monitor="loss", mode="min", learning_rate=0.1, schedule=plateau)
    for _ in range(3):
        one.next_factor()
        validated(one)
    lines = one._run.read_lines("metrics.jsonl")
    assert [line["learning_rate"] for line in lines] == [0.1, 0.1, 0.05]


def test_a_metric_that_is_absent_or_not_finite_is_named(tmp_path: Path) -> None:
    one = course(tmp_path, monitor="ndcg")
    with pytest.raises(ConfigError, match="'ndcg', and the validation gives loss, error"):
        validated(one, error=1.0)
    with pytest.raises(NotFiniteError, match="validation's ndcg is nan"):
        validated(one, ndcg=float("nan"))


def test_losses_are_fetched_together_and_the_first_bad_one_names_its_step() -> None:
    fetched = []
    losses = Losses(lambda values: fetched.append(len(values)) or values)  # type: ignore[func-returns-value]
    state = State(step=2)
    losses.add(1.0, 3)
    losses.add(2.0, 1)
    losses.check_into(state)
    assert (fetched, state.loss_sum, state.loss_rows) == ([2], 5.0, 4)
    losses.add(float("inf"), 1)
    state.step = 3
    with pytest.raises(NotFiniteError, match="loss of step 3 is inf"):
        losses.check_into(state)


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, falconer.pipelines.training.course; "
        "print([name for name in ('torch', 'tensorflow', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
