"""Every model recipe that there is: found by walking the tree, validated, and trained on a small
dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines import stages
from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models.recipe import RECIPES, load_recipe
from falconer.recsys.models.registry import MODELS
from tests.support import tiny
from tests.support.datasets import write_labels_dataset

NAMES = sorted(
    path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.toml")
)
TASKS = {name: stages.load_recipe(name.split("/")[0]).task for name in NAMES}
"""A recipe's folder is the name of the dataset that it is for."""
LOGS = {"adult", "criteo-synthetic"}
"""Datasets of rows without users and items."""
RANDOM_GUESS = 1 / 13
"""Of the checkerboard's 24 items a user has seen 11: one guess among the rest."""


def test_there_is_a_recipe_for_every_model() -> None:
    assert {load_recipe(name)[0].name for name in NAMES} == set(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_how_its_knobs_were_chosen(name: str) -> None:
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "[model]" not in text or "valid" in text


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_labels_dataset(tmp_path_factory.mktemp("labels") / "log", entities=False)


def test_recipes_of_logs_are_known() -> None:
    labels = {name.split("/")[0] for name in NAMES if TASKS[name] == "labels"}
    features = {folder: stages.load_recipe(folder).features for folder in labels}
    assert {
        folder for folder in labels if not (features[folder].user or features[folder].item)
    } == LOGS


@pytest.mark.parametrize("name", [name for name in NAMES if TASKS[name] == "labels"])
def test_a_recipe_for_rows_trains_and_beats_chance(
    name: str, clicks: Dataset, log: Dataset, tmp_path: Path
) -> None:
    data = log if name.split("/")[0] in LOGS else clicks
    implementation, config = load_recipe(name)
    assert isinstance(config, ModelConfig)
    config = tiny.tiny_form(implementation.name, config)
    run = tiny.train(implementation.name, implementation.backend, data, tmp_path, config)
    assert tiny.auc_of(run, data) >= (0.75 if config.discovers else 0.55), (
        "chance is 0.5, the planted signal 0.88"
    )


@pytest.mark.parametrize("name", [name for name in NAMES if TASKS[name] == "top_n"])
def test_a_recipe_trains_and_beats_chance(name: str, board: Dataset, tmp_path: Path) -> None:
    implementation, config = load_recipe(name)
    assert isinstance(config, ModelConfig)
    config = tiny.tiny_form(implementation.name, config)
    run = tiny.train(implementation.name, implementation.backend, board, tmp_path, config)
    queries, truth = board.queries("test"), board.truth("test")
    scores = tiny.novel_scores(tiny.scorer_of(run, board), queries)
    hit_rate = np.mean(scores.argmax(axis=1) == truth.items.values)
    assert hit_rate >= (10 * RANDOM_GUESS if config.discovers else 0)
