"""What the loop does with batches, losses and validations."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError, TrainingError
from falconer.pipelines.runs import Run
from falconer.pipelines.training import progress
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints
from falconer.pipelines.training.devices import device_of, torch_settings
from falconer.pipelines.training.torch import fit
from tests.support.small_training import Batch, Regression, config, new_run, plain, train, weights


class Scripted(Regression):
    """Its validations give these values, one after another."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.script = iter(values)
        self.seen: list[bytes] = []

    def validate(self) -> Mapping[str, float]:
        self.seen.append(weights(self))
        return {"hits": next(self.script)}


class WithoutValidation(Regression):
    def validate(self) -> Mapping[str, float]:
        return {}


def flat(task: Regression) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in task.model.parameters()])


@pytest.mark.parametrize("n", [64, 70])
def test_accumulating_equals_a_larger_batch(n: int, tmp_path: Path) -> None:
    small, large = Regression(n=n, size=8, dropout=0), Regression(n=n, size=24, dropout=0)
    result, lines = train(small, plain(accumulate=3), tmp_path)
    other, other_lines = train(large, plain(), tmp_path)
    assert (result.steps, result.samples) == (other.steps, other.samples) == (6, 2 * n)
    assert torch.allclose(flat(small), flat(large), atol=1e-6)
    assert [line["loss"] for line in lines] == pytest.approx(
        [line["loss"] for line in other_lines], rel=1e-5
    )


def test_the_time_of_writing_is_not_that_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = 1000.0
    written: list[int] = []

    def save_last(self: Checkpoints, checkpoint: Checkpoint) -> None:
        written.append(checkpoint.state.step)

    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + writing * len(written))
    monkeypatch.setattr(Checkpoints, "save_last", save_last)
    result, _ = train(Regression(dropout=0), plain(epochs=3), tmp_path)
    assert written == [0, 9, 18, 27]
    assert result.samples / result.samples_per_second < writing
    assert result.seconds > 2 * writing


def test_training_learns_and_says_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Regression(dropout=0)
    before = task.validate()["error"]
    result, lines = train(task, plain(epochs=5, monitor="error", mode="min"), tmp_path)
    assert task.validate()["error"] < 0.7 * before
    assert (result.steps, result.epochs, result.ended, result.samples) == (45, 5, "epochs", 350)
    assert result.best_metric == min(line["error"] for line in lines)
    assert result.samples_per_second > 0
    assert result.seconds > 350 / result.samples_per_second
    assert [line["step"] for line in lines] == [9, 18, 27, 36, 45]
    assert set(lines[0]) == {"step", "epoch", "loss", "error", "learning_rate"}
    assert re.search(
        r"step 9, epoch 1: loss [\d.]+, error [\d.]+, .* \(best\); [\d,]+ samples/s",
        capsys.readouterr().out,
    )
    assert not task.model.training


def test_the_best_weights_are_kept_and_not_the_last(tmp_path: Path) -> None:
    task = Scripted(0.1, 0.4, 0.3, 0.4)
    result, _ = train(task, plain(epochs=4, monitor="hits"), tmp_path)
    assert (result.best_step, result.best_metric, result.steps) == (18, 0.4, 36)
    assert weights(task) == task.seen[1]


def test_training_stops_when_its_patience_ends(tmp_path: Path) -> None:
    task = Scripted(0.1, 0.4, 0.3, 0.4, 0.2, 0.9)
    result, lines = train(task, plain(epochs=6, monitor="hits", patience=3), tmp_path)
    assert (result.ended, result.steps, result.best_step) == ("patience", 45, 18)
    assert result.epochs == 5
    assert len(lines) == 5


def test_the_training_loss_can_be_monitored(tmp_path: Path) -> None:
    result, lines = train(WithoutValidation(), plain(monitor="loss", mode="min"), tmp_path)
    assert result.best_metric == min(line["loss"] for line in lines)


def test_without_a_validation_the_last_weights_count(tmp_path: Path) -> None:
    task = WithoutValidation()
    result, lines = train(task, plain(epochs=2), tmp_path)
    assert (result.best_step, result.best_metric) == (18, None)
    assert set(lines[0]) == {"step", "epoch", "loss", "learning_rate"}
    other = Regression()
    train(other, plain(epochs=2), tmp_path)
    assert weights(task) == weights(other)


def test_validations_and_checkpoints_do_not_change_the_training(tmp_path: Path) -> None:
    ends = []
    for knobs in ({}, {"validate_every": 0.25}, {"checkpoint_every": 1}, {"validate_every": 5.0}):
        task = Regression()
        train(task, plain(**knobs), tmp_path)
        ends.append(weights(task))
    assert len(set(ends)) == 1


@pytest.mark.parametrize(
    ("every", "steps"), [(0.5, [4, 8, 12, 16, 18]), (1.0, [9, 18]), (2.0, [18]), (9.0, [18])]
)
def test_validations_are_as_frequent_as_asked(
    every: float, steps: list[int], tmp_path: Path
) -> None:
    _, lines = train(Regression(), plain(validate_every=every), tmp_path)
    assert [line["step"] for line in lines] == steps


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("call", [1, 14])
def test_a_loss_that_is_not_finite_names_its_step_and_the_last_good_checkpoint(
    value: float, call: int, tmp_path: Path
) -> None:
    class Wrong(Regression):
        def loss(self, batch: Batch) -> torch.Tensor:
            loss = super().loss(batch)
            return loss * value if self._calls == call else loss

    run = new_run(tmp_path)
    with pytest.raises(TrainingError, match=f"the loss of step {call} is {value}") as caught:
        fit(Wrong(), plain(checkpoint_every=4), run)
    good = (call - 1) // 4 * 4
    if call == 14:  # the validation at the end of epoch 0 is also a checkpoint
        good = max(good, 9)
    assert f"{run.path / 'checkpoints' / 'last.safetensors'}, of step {good}" in str(caught.value)
    healthy = Regression()
    fit(healthy, plain(checkpoint_every=4), run)
    undisturbed = Regression()
    train(undisturbed, plain(), tmp_path)
    assert weights(healthy) == weights(undisturbed)


def test_weights_and_metrics_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    class Exploding(Regression):
        def loss(self, batch: Batch) -> torch.Tensor:
            loss = super().loss(batch)
            if self._calls == 9:
                loss.register_hook(lambda gradient: gradient * float("inf"))
            return loss

    with pytest.raises(
        TrainingError, match=r"is not finite after step 9 \(epoch 0\); .* of step 0"
    ):
        train(Exploding(), plain(), tmp_path)
    with pytest.raises(TrainingError, match="the validation's hits is nan"):
        train(Scripted(float("nan")), plain(), tmp_path)


def test_mistakes_get_one_clear_error_each(tmp_path: Path) -> None:
    class Short(Regression):
        @property
        def batches(self) -> Any:
            whole = super().batches

            class Batches:
                def __len__(self) -> int:
                    return len(whole)

                def epoch(self, number: int, *, start: int = 0) -> Iterator[Batch]:
                    return iter(list(whole.epoch(number, start=start))[:3])

            return Batches()

    for error, message, task, settings in [
        (
            ConfigError,
            "monitor is 'ndcg', and the validation gives loss, error",
            Regression(),
            plain(monitor="ndcg"),
        ),
        (TrainingError, "there is no batch to train on", Regression(n=0), plain()),
        (
            TrainingError,
            "epoch 0 ended at step 3: it has fewer batches than it says",
            Short(),
            plain(),
        ),
    ]:
        with pytest.raises(error, match=message):
            train(task, settings, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    assert device_of(plain()).type == "cpu"
    with pytest.raises(
        ConfigError, match=r'training.device is "cuda", and torch finds no GPU here'
    ):
        device_of(plain(device="cuda"))


@pytest.mark.parametrize(
    ("knobs", "difference"),
    [
        ({"learning_rate": 0.03}, r"config.learning_rate: 0.02 in the checkpoint, 0.03 here"),
        ({"threads": 2}, r"threads: 1 in the checkpoint, 2 here"),
    ],
)
def test_a_checkpoint_of_other_conditions_is_refused(
    knobs: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    run = new_run(tmp_path)
    fit(Regression(), config(epochs=1), run)
    with pytest.raises(ArtifactError, match=difference):
        fit(Regression(), config(epochs=1, **knobs), run)


def test_a_checkpoint_of_another_lineage_batch_count_or_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path, dataset_id="one", id_space=["first"])
    fit(Regression(), config(epochs=1), run)
    run.update(dataset_id="two", id_space=["second"])
    monkeypatch.setattr(torch, "__version__", "2.11.0")
    with pytest.raises(ArtifactError) as caught:
        fit(Regression(n=90), config(epochs=1), run)
    for difference in (
        "dataset_id: one",
        "id_space: ['first']",
        "torch: 2",
        "batches: 9 in the checkpoint, 12 here",
    ):
        assert difference in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    fit(Regression(), config(epochs=1), run)
    with pytest.raises(ArtifactError, match="made by another model"):
        fit(Regression(dropout=0), config(epochs=1), run)
    wide = Regression()
    wide.model[0] = torch.nn.Linear(3, 16)  # type: ignore[index]
    with pytest.raises(
        ArtifactError, match=r"another size: 0.weight has shape \[8, 3\] there and \[16, 3\] here"
    ):
        fit(wide, config(epochs=1), run)


@pytest.mark.parametrize("file", ["last.safetensors", "best-000000005.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(file: str, content: bytes | None, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    fit(Regression(), config(epochs=1), run)
    (run.path / "checkpoints" / "earlier.safetensors").unlink()
    path = run.path / "checkpoints" / file
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(ArtifactError, match=f"{re.escape(file)}: missing or damaged"):
        fit(Regression(), config(epochs=1), run)


def test_new_memory_is_not_filled_while_training(tmp_path: Path) -> None:
    memory: Any = torch.utils.deterministic
    filled: list[bool] = []

    class Asked(Regression):
        def loss(self, batch: Batch) -> torch.Tensor:
            filled.append(memory.fill_uninitialized_memory)
            return super().loss(batch)

    assert memory.fill_uninitialized_memory
    train(Asked(), plain(epochs=1), tmp_path)
    assert set(filled) == {False}
    assert memory.fill_uninitialized_memory


def test_bf16_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    kinds = set()

    class Watched(Regression):
        def loss(self, batch: Batch) -> torch.Tensor:
            kinds.add(self.model(batch[0]).dtype)
            return super().loss(batch)

    for precision in ("auto", "bf16"):
        train(Watched(), plain(epochs=1, precision=precision), tmp_path)
    assert kinds == {torch.float32, torch.bfloat16}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_model_trains_alike(tmp_path: Path) -> None:
    task, other = Regression(dropout=0), Regression(dropout=0)
    train(task, plain(compile=True), tmp_path)
    train(other, plain(), tmp_path)
    assert torch.allclose(flat(task), flat(other), atol=1e-5)


def test_a_log_gets_plain_lines_with_speed_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "SECONDS_TO_FIRST_LINE", 0.0)
    train(Regression(), plain(epochs=1), tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert re.fullmatch(r"training: step 4/9, [\d,]+ samples/s, about \d+ s left", lines[3])


def test_a_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    train(Regression(), plain(epochs=1), tmp_path)
    assert "training" in capsys.readouterr().err


def test_a_run_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (run.path / "checkpoints").write_text("taken")
    with pytest.raises(PipelineError, match="cannot write there"):
        fit(Regression(), plain(), Run.open(run.path))


def test_settings_of_torch_are_a_training_s_own() -> None:
    found: Any = torch.backends.cuda
    assert found.cudnn_sdp_enabled()
    with torch_settings(config(threads=1), torch.device("cpu")):
        assert not found.cudnn_sdp_enabled()
        assert torch.are_deterministic_algorithms_enabled()
    assert found.cudnn_sdp_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
