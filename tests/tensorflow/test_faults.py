"""What a kill, a damaged file and a request that nothing can honour do to a training."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset, checksums, write_card
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.models.registry import MODELS
from falconer.workflows import cli
from tests.support.datasets import checkerboard

RECIPE = {
    "name": "ncf",
    "backend": "tensorflow",
    "model": {
        "factors": 4,
        "mlp_factors": 4,
        "layers": [8, 4],
        "dropout": 0.1,
        "batch_size": 16,
        "pretraining": {"epochs": 1, "threads": 1, "checkpoint_every": 2},
        "training": {"epochs": 2, "threads": 1, "checkpoint_every": 2},
    },
}
STEPS = 5
"""Updates in this process before the kill: inside the first fit, not at a checkpoint."""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return checkerboard(tmp_path_factory.mktemp("data") / "board", n=12)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(to_toml(RECIPE), encoding="utf-8")
    return path


def train_and_die(recipe: Path, data: Path, root: Path) -> None:
    """Train for `STEPS` updates, and end as `kill -9` does."""
    os.environ["FALCONER_TRACKING"] = "off"
    from falconer.recsys.backends.tensorflow.steps import Steps

    whole, done = Steps.__call__, 0

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal done
        if done == STEPS:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return whole(self, *arguments)

    Steps.__call__ = counted  # type: ignore[method-assign]
    stages.train(str(recipe), data, root)


@pytest.fixture(scope="module")
def killed(recipe: Path, board: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose process was killed between two checkpoints."""
    root = tmp_path_factory.mktemp("killed")
    process = multiprocessing.get_context("spawn").Process(
        target=train_and_die, args=(recipe, board.path, root)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (path,) = root.iterdir()
    assert Run(path).info["status"] == "running"
    return path


def test_a_damaged_checkpoint_is_named(killed: Path) -> None:
    last, *_ = killed.rglob("last.safetensors")
    whole = last.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    last.write_bytes(damaged)
    try:
        with pytest.raises(ArtifactError, match=r"last\.safetensors: missing or damaged"):
            stages.resume(killed)
    finally:
        last.write_bytes(whole)


def test_a_killed_training_goes_on_to_the_same_bytes(
    killed: Path, recipe: Path, board: Dataset, tmp_path: Path
) -> None:
    whole = stages.train(str(recipe), board.path, tmp_path / "whole")
    stages.resume(killed)
    assert "goes on at step 4 " in (killed / "log.txt").read_text(encoding="utf-8")
    assert checksums(killed / "model") == checksums(whole / "model")
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def refusal(arguments: list[str], root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a training that ends with 2 says on standard error."""
    command = ["train", *arguments, "--runs", str(root), "--set", 'backend="tensorflow"']
    assert cli.run(command) == 2
    text = capsys.readouterr().err
    assert text.count("error: ") == 1
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    "name", [name for name, model in MODELS.items() if "tensorflow" not in model.backends]
)
def test_a_model_that_has_no_twin_is_refused(
    name: str, board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refusal([name, "--data", str(board.path)], tmp_path / "runs", capsys)
    assert "tensorflow" in text
    assert name in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["ncf", "vae_cf", "sasrec"])
def test_an_item_that_is_not_in_the_vocabulary_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = checkerboard(tmp_path / "data", n=12)
    (path,) = data.train_files()
    table = pq.read_table(path)
    place, items = table.column_names.index("item"), table.column("item").to_numpy().copy()
    items[27] = data.n_items
    pq.write_table(table.set_column(place, "item", pa.array(items)), path)
    write_card(data.path, data.card.model_copy(update={"content": checksums(data.path)}))
    text = refusal([name, "--data", str(data.path)], tmp_path / "runs", capsys)
    assert "part-00000.parquet: row 27 of row group 0: item 12 is not in the vocabulary" in text
