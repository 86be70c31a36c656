"""What every registered model's saved form must be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, PipelineError
from falconer.recsys.models import registry, saved
from tests.contracts.conftest import Trained
from tests.support import tiny
from tests.support.datasets import checkerboard
from tests.support.tiny import ALL, scorer_of, with_histories

pytestmark = pytest.mark.parametrize(("name", "backend"), ALL)


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_training_twice_writes_the_same_bytes(
    name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    assert registry.MODELS[name].config.deterministic
    first, second = trained(name, backend, board), tiny.train(name, backend, board, tmp_path)
    assert bytes_of(first.model_directory) == bytes_of(second.model_directory)
    assert first.read_lines("metrics.jsonl") == second.read_lines("metrics.jsonl") != []


def test_a_loaded_model_scores_as_the_trained_one(
    name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    run = trained(name, backend, board)
    chosen = registry.resolve(name, backend)
    fresh = chosen.train(tiny.tiny_config(name), board, run)
    queries = board.queries("test")
    assert scorer_of(run, board).score(queries).tobytes() == fresh.score(queries).tobytes()


def test_no_file_is_a_pickle(name: str, backend: str, board: Dataset, trained: Trained) -> None:
    files = bytes_of(trained(name, backend, board).model_directory)
    assert len(files) > 1
    assert not {Path(file).suffix for file in files} & {".pkl", ".pickle", ".pt", ".joblib"}


def test_a_descendant_dataset_masks_the_new_items(
    name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    later = checkerboard(tmp_path / "later", n=30, generations=("first", "second"))
    run = trained(name, backend, board)
    scorer = scorer_of(run, later)
    scores = scorer.score(later.queries("test"))
    assert scores.shape == (len(later.queries("test")), later.n_items)
    assert (scorer.items_known == (np.arange(later.n_items) < board.n_items)).all()
    assert (np.isfinite(scores) == scorer.items_known).all()


def test_new_items_in_a_history_change_nothing(
    name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    later = checkerboard(tmp_path / "later", n=30, generations=("first", "second"))
    run = trained(name, backend, board)
    old, new = board.queries("test"), later.queries("test")
    before = scorer_of(run, board).score(with_histories(old, [[0, 2, 4]]))
    after = scorer_of(run, later).score(with_histories(new, [[0, 2, 4], [29, 0, 25, 2, 26, 4, 28]]))
    assert after[0, : board.n_items].tobytes() == before[0].tobytes()
    assert after[1, : board.n_items].tobytes() == before[0].tobytes()


def test_another_lineage_is_refused(
    name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    other = checkerboard(tmp_path / "other", generations=("another",))
    with pytest.raises(ArtifactError, match="lineage"):
        saved.load_model(trained(name, backend, board).model_directory, other)


def test_an_ancestor_is_refused(name: str, backend: str, board: Dataset, tmp_path: Path) -> None:
    later = checkerboard(tmp_path / "later", generations=("first", "second"))
    run = tiny.train(name, backend, later, tmp_path / "runs")
    with pytest.raises(ArtifactError, match="lineage"):
        saved.load_model(run.model_directory, board)


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "add"])
def test_a_damaged_file_is_refused(
    name: str, backend: str, damage: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    whole = trained(name, backend, board).model_directory
    for file in bytes_of(whole):
        broken = tmp_path / file / "model"
        shutil.copytree(whole, broken)
        apply_damage(broken / file, damage)
        with pytest.raises(PipelineError, match=r"train|damaged|not found"):
            saved.load_model(broken, board)


def apply_damage(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :])
    elif damage == "remove":
        path.unlink()
    else:
        path.with_name("foreign.bin").write_bytes(b"?")


def test_a_dataset_without_times_is_refused_as_declared(
    name: str, backend: str, tmp_path: Path
) -> None:
    timeless = checkerboard(tmp_path / "timeless", has_time=False)
    if registry.MODELS[name].config.needs_times:
        with pytest.raises(PipelineError, match="times"):
            tiny.train(name, backend, timeless, tmp_path / "runs")
    else:
        run = tiny.train(name, backend, timeless, tmp_path / "runs")
        assert np.isfinite(scorer_of(run, timeless).score(timeless.queries("test"))).all()


def test_a_dataset_without_features_is_refused_as_declared(
    name: str, backend: str, tmp_path: Path
) -> None:
    if registry.MODELS[name].config.needs_features:
        bare = checkerboard(tmp_path / "bare", features=())
        with pytest.raises(PipelineError, match="has no features of users or items"):
            tiny.train(name, backend, bare, tmp_path / "runs")
