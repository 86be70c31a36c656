"""A training that was killed goes on as if nothing had happened: the same bytes at its end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints
from falconer.pipelines.training.result import State
from falconer.pipelines.training.torch import fit
from tests.support.small_training import (
    FORKS,
    Regression,
    config,
    live,
    lives,
    new_run,
    train,
    weights,
)

LOSSES = 36
"""Calls of the loss in a whole training: 4 epochs of 9 batches."""


def outcome(path: Path) -> tuple[bytes, bytes]:
    return (path / "weights").read_bytes(), (path / "metrics.jsonl").read_bytes()


def trained(root: Path, deaths: list[dict[str, int]], **knobs: object) -> tuple[bytes, bytes]:
    path = new_run(root).path
    lives(path, config(**knobs), deaths)
    return outcome(path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    result = trained(tmp_path_factory.mktemp("reference"), [])
    assert len(result[1].splitlines()) == 7
    return result


def test_a_kill_at_any_step_changes_no_byte(
    undisturbed: tuple[bytes, bytes], tmp_path: Path
) -> None:
    for call in np.random.default_rng(0).choice(np.arange(1, LOSSES + 1), 20, replace=False):
        assert trained(tmp_path, [{"kill_at": int(call)}]) == undisturbed, f"killed in batch {call}"


@pytest.mark.slow
def test_fifty_trainings_killed_again_and_again_change_no_byte(
    undisturbed: tuple[bytes, bytes], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        deaths = [{"kill_at": int(call)} for call in rng.integers(1, 10, 3)]
        assert trained(tmp_path, deaths) == undisturbed, deaths


def test_a_kill_within_the_writing_of_a_checkpoint_changes_no_byte(
    undisturbed: tuple[bytes, bytes], tmp_path: Path
) -> None:
    for number in (1, 2, 3, 4, 5, 9):
        assert trained(tmp_path, [{"kill_in_sync": number}]) == undisturbed, (
            f"killed in write {number}"
        )


@pytest.mark.parametrize(
    "knobs",
    [
        {
            "optimizer": "sgd",
            "schedule": {"kind": "cosine"},
            "ema_decay": None,
            "accumulate": 1,
            "monitor": None,
        },
        {
            "optimizer": "adagrad",
            "schedule": {"kind": "step", "milestones": [1, 2]},
            "checkpoint_every": None,
        },
        {
            "optimizer": "adam",
            "patience": 2,
            "learning_rate": 1.0,
            "warmup_steps": 0,
            "precision": "bf16",
        },
    ],
    ids=["sgd, cosine", "adagrad, step", "early stopping, bf16"],
)
def test_other_configurations_resume_as_well(knobs: dict[str, object], tmp_path: Path) -> None:
    knobs = {"patience": None, "schedule": {"kind": "constant"}, **knobs}
    reference = trained(tmp_path, [], **knobs)
    assert trained(tmp_path, [{"kill_at": 8}, {"kill_at": 5}], **knobs) == reference


def test_the_weights_and_metrics_do_depend_on_the_seed(
    undisturbed: tuple[bytes, bytes], tmp_path: Path
) -> None:
    assert trained(tmp_path, [], seed=8) != undisturbed


def test_timing_is_not_cut_and_a_finished_fit_is_not_done_again(tmp_path: Path) -> None:
    task = Regression()
    run = new_run(tmp_path)
    first = fit(task, config(), run)
    before = (run.path / "timing.jsonl").read_bytes(), (run.path / "metrics.jsonl").read_bytes()
    again = Regression()
    assert fit(again, config(), run) == first
    assert weights(again) == weights(task)
    assert (
        (run.path / "timing.jsonl").read_bytes(),
        (run.path / "metrics.jsonl").read_bytes(),
    ) == before


def test_several_fits_of_one_run_resume_each_on_its_own(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for name in ("first", "second"):
        fit(Regression(), config(epochs=2), run, name=name)
    reference = (run.path / "metrics.jsonl").read_bytes()
    assert b'"second/error"' in reference
    other = new_run(tmp_path)
    for kill in (True, False):
        process = FORKS.Process(target=two_fits, args=(other.path, kill))
        process.start()
        process.join()
    assert process.exitcode == 0
    assert (other.path / "metrics.jsonl").read_bytes() == reference


def two_fits(path: Path, kill: bool) -> None:
    run = Run.open(path)
    fit(Regression(), config(epochs=2), run, name="first")
    fit(Regression(kill_at=11 if kill else 0), config(epochs=2), run, name="second")


def test_an_interrupted_training_can_be_taken_up(
    undisturbed: tuple[bytes, bytes], tmp_path: Path
) -> None:
    class Interrupted(Regression):
        def loss(self, batch: object) -> object:  # type: ignore[override]
            if self._calls == 20:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            return super().loss(batch)  # type: ignore[arg-type]

    run = new_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(), config(), run)
    live(run.path, config())
    assert outcome(run.path) == undisturbed


def test_what_a_kill_left_behind_is_removed(tmp_path: Path) -> None:
    path = new_run(tmp_path).path
    lives(path, config(), [{"kill_in_sync": 3}])
    left = sorted(file.name for file in (path / "checkpoints").iterdir())
    best = [f"best-{step:09d}.safetensors" for step in (18, 20)]
    assert left == [*best, "earlier.safetensors", "last.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
@pytest.mark.parametrize("call", [7, 30], ids=["early", "late"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    undisturbed: tuple[bytes, bytes], tmp_path: Path, call: int, damage: str
) -> None:
    """The training goes on from the earlier one, says so, and ends in the same bytes."""
    path = new_run(tmp_path).path
    killed = FORKS.Process(target=live, args=(path, config()), kwargs={"kill_at": call})
    killed.start()
    killed.join()
    last = path / "checkpoints" / "last.safetensors"
    content = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        flipped = bytes([*content[:-5], content[-5] ^ 1, *content[-4:]])
        last.write_bytes(content[:-9] if damage == "cut" else flipped)
    lives(path, config(), [])
    assert outcome(path) == undisturbed
    said = "goes on from the checkpoint before it" in (path / "log.txt").read_text()
    assert said == (damage != "gone")


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    made = [Checkpoint(State(step=step), {}, {"w": torch.full((3,), step)}) for step in range(3)]
    for one in made[:2]:
        checkpoints.save_last(one)
    checkpoints.last.write_bytes(b"")
    found = checkpoints.load_last()
    assert found is not None
    assert found.state.step == 0
    checkpoints.save_last(made[2])
    checkpoints.last.write_bytes(b"")
    found = checkpoints.load_last()
    assert found is not None
    assert found.state.step == 0
    checkpoints.earlier.write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"earlier\.safetensors: missing or damaged"):
        checkpoints.load_last()


def test_metrics_that_lost_their_end_are_not_continued(tmp_path: Path) -> None:
    path = new_run(tmp_path).path
    process = FORKS.Process(target=live, args=(path, config()), kwargs={"kill_at": 20})
    process.start()
    process.join()
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(
        ArtifactError, match=r"metrics.jsonl: \d+ bytes are missing from its end; train anew"
    ):
        fit(Regression(), config(), Run.open(path))


def test_training_does_not_disturb_the_settings_of_the_process(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train(Regression(), config(epochs=1, threads=1), tmp_path)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
