"""`falconer train --from`: known ids keep their weights, new ones start as in a new training; what
cannot start so says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from falconer.pipelines import runs
from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.models.recipe import frozen
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.models import registry
from falconer.recsys.models.saved import read_card
from falconer.recsys.stages.starting import start_facts
from tests.contracts.conftest import Trained
from tests.support import tiny
from tests.support.datasets import checkerboard

ABLE = [pair for pair in tiny.ALL if pair[1] in registry.MODELS[pair[0]].config.warm_starts]
UNABLE = [pair for pair in tiny.ALL if pair not in ABLE and pair[1] != "tensorflow"]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def later(workspace: Path) -> Dataset:
    """A dataset that continues the board's ids, with more users and items."""
    return checkerboard(workspace / "starting", n=30, generations=("first", "second"))


@contextmanager
def begun(name: str, data: Dataset, root: Path, start: Path | None) -> Iterator[Run]:
    """A run of the model's tiny form that starts from `start`, or anew."""
    chosen, config = registry.resolve(name, "torch"), tiny.tiny_config(name)
    facts = start_facts(start, chosen, config, data) if start else {}
    recipe = frozen(chosen, config)
    with runs.start(root, model=name, backend="torch", config=recipe, **facts) as run:
        yield run


def untrained(name: str, data: Dataset, root: Path, start: Path | None) -> dict[str, torch.Tensor]:
    """The weights that a training begins with."""
    with begun(name, data, root, start) as run:
        scorer = registry.resolve(name, "torch").train(
            tiny.tiny_config(name), data, run, fit=lambda *_, **__: None
        )
        scorer.save(run.path)
        return load_file(run.path / WEIGHTS)


@pytest.mark.parametrize("name", [name for name, _ in ABLE])
def test_known_ids_keep_their_weights_and_new_ones_are_initialised(
    name: str, board: Dataset, later: Dataset, trained: Trained, tmp_path: Path
) -> None:
    run = trained(name, "torch", board)
    old = load_file(run.model_directory / WEIGHTS)
    anew = untrained(name, later, tmp_path, None)
    found = untrained(name, later, tmp_path, run.path)
    grown = 0
    for tensor in sorted(set(found) - {"popularity"}):
        tokens = len(found[tensor]) - later.n_items if tensor == "encoder.items.weight" else 0
        n = len(old[tensor]) - tokens
        assert torch.equal(found[tensor][:n], old[tensor][:n]), tensor
        end = len(found[tensor]) - tokens
        assert torch.equal(found[tensor][n:end], anew[tensor][n:end]), tensor
        assert torch.equal(found[tensor][end:], old[tensor][n:]), tensor
        grown += end > n
    assert grown >= 1
    assert torch.equal(found["popularity"], anew["popularity"])


def test_the_command_starts_and_says_from_what(
    board: Dataset, later: Dataset, trained: Trained, tmp_path: Path
) -> None:
    start = trained("vae_cf", "torch", board)
    recipe = tmp_path / "vae.toml"
    chosen = registry.resolve("vae_cf", "torch")
    recipe.write_text(to_toml(frozen(chosen, tiny.tiny_config("vae_cf"))))
    run = Run.open(stages.train(str(recipe), later.path, tmp_path / "runs", start=start.path))
    assert run.info["starts_from"]["run"] == start.name
    assert read_card(run.model_directory).n_items == later.n_items
    with pytest.raises(ArtifactError, match="started from another run's weights"):
        stages.refit(run.path, tmp_path / "runs")


@pytest.mark.parametrize(("name", "backend"), UNABLE)
def test_models_that_cannot_start_say_so(
    name: str, backend: str, later: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{name} on {backend} cannot start from a trained run"):
        stages.train(name, later.path, tmp_path, start=tmp_path / "a-run")
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_does_not_fit_is_refused(
    board: Dataset, later: Dataset, trained: Trained, tmp_path: Path
) -> None:
    start = trained("ncf", "torch", board).path
    with pytest.raises(ConfigError, match="can only start from its own kind"):
        stages.train("vae_cf", later.path, tmp_path, start=start)
    with pytest.raises(ConfigError, match="start of its own"):
        stages.train(
            "ncf", later.path, tmp_path, overrides=["model.pretraining.epochs=1"], start=start
        )
    other = checkerboard(tmp_path / "other", n=30, generations=("another",))
    with pytest.raises(ConfigError, match="does not continue the ids"):
        stages.train("ncf", other.path, tmp_path, start=start)
    with pytest.raises(ConfigError, match=r"has the shape .* with these knobs"):
        stages.train("ncf", later.path, tmp_path, overrides=["model.dim=5"], start=start)


def test_a_start_that_has_changed_is_not_gone_on_with(
    board: Dataset, later: Dataset, tmp_path: Path
) -> None:
    start = tiny.train("vae_cf", "torch", board, tmp_path)
    with begun("vae_cf", later, tmp_path, start.path) as run:
        (start.model_directory / WEIGHTS).write_bytes(b"another")
        with pytest.raises(ArtifactError, match=r"not the model that .* began to start from"):
            registry.resolve("vae_cf", "torch").train(tiny.tiny_config("vae_cf"), later, run)
