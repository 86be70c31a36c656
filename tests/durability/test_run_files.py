"""Files of a run that are damaged or anybody's: named, never a traceback, never another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from falconer.pipelines import runs
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints
from falconer.pipelines.training.result import State


def saved(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    weights = {"w": torch.arange(6.0).reshape(2, 3), "empty": torch.zeros(0), "one": torch.ones(())}
    checkpoints.save_best(0, weights)
    checkpoints.save_last(Checkpoint(State(), {"seed": 1}, {"model.w": weights["w"]}))
    return checkpoints


def test_any_flipped_bit_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    for path, load in (
        (checkpoints.last, checkpoints.load_last),
        (checkpoints.best(0), lambda: checkpoints.load_best(0)),
    ):
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            damaged = bytearray(whole)
            damaged[place] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(ArtifactError, match=path.name):
                load()
        path.write_bytes(whole)
        load()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "null", '"x"', "{}", "NaN", "[" * 100_000, '{"a":' * 100_000,
        '{"status": 3}', '{"status": "flying"}', '{"status": "running", "seconds": 1e999}',
        '{"status": "running", "seconds": "long"}', '{"status": "running", "versions": []}',
        '{"status": "running", "started": "yesterday"}', '{"status": "finished", "model": []}',
        '{"status": "running"}', "\x00\xff",
    ],
    ids=range(19),
)  # fmt: skip
def test_a_run_json_of_any_form_is_an_error_for_people(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / runs.CONFIG_FILE).write_text("")
    (path / runs.RUN_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match="run"):
        Run.open(path).info["model"]
    with pytest.raises(ArtifactError, match="run"), runs.resume(path):
        pass


def test_a_line_that_a_kill_cut_is_left_out_and_other_damage_is_named(tmp_path: Path) -> None:
    with runs.start(tmp_path, model="ease", backend="numpy", config={}) as run:
        run.log_timing(seconds=1.0)
    path = run.path / "timing.jsonl"
    path.write_text(path.read_text() + '{"seco')
    assert run.read_lines("timing.jsonl") == [{"seconds": 1.0}]
    run.update(status="interrupted")
    with runs.resume(run.path) as again:
        again.log_timing(seconds=2.0)
    assert run.read_lines("timing.jsonl") == [{"seconds": 1.0}, {"seconds": 2.0}]
    path.write_text("{}\n[1]\n")
    with pytest.raises(ArtifactError, match=r"timing\.jsonl: damaged"):
        run.read_lines("timing.jsonl")


def test_a_runs_folder_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def look(path: Path, value: Any) -> None:
        seen.append([one.name for one in tmp_path.iterdir() if not one.name.startswith(".")])
        path.write_text(json.dumps(value))

    monkeypatch.setattr("falconer.pipelines.runs.write_json", look)
    with runs.start(tmp_path, model="ease", backend="numpy", config={}):
        pass
    assert seen[0] == []


def test_what_a_kill_left_beside_a_run_goes_when_it_is_taken_up(tmp_path: Path) -> None:
    """Killed between a run's appearance and the end of the folder that it was made in."""
    with (
        pytest.raises(RuntimeError),
        runs.start(tmp_path, model="ease", backend="numpy", config={}) as run,
    ):
        raise RuntimeError
    left = tmp_path / ".0123456789ab.partial"
    left.mkdir()
    with runs.resume(run.path):
        assert not left.exists()
