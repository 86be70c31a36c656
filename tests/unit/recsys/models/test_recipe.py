from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.recsys.models.ease.config import EaseConfig
from falconer.recsys.models.recipe import load_recipe


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_model_name_means_its_defaults() -> None:
    implementation, config = load_recipe("ease")
    assert (implementation.name, implementation.backend) == ("ease", "numpy")
    assert config == EaseConfig()


def test_a_file_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "ease"\nbackend = "numpy"\n[model]\nl2 = 7.0\ndecay = 0.5\n')
    _, config = load_recipe(path, ["model.decay=0.9", "model.max_items=10"])
    assert config == EaseConfig(l2=7.0, decay=0.9, max_items=10)


def test_every_mistake_is_listed_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'name = "ease"\nbackend = "torhc"\nmodle = 1\n[model]\nl2 = -1\ndecai = 0.5\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, ["model.max_items=none"])
    text = str(caught.value)
    assert "5 mistakes" in text
    assert "mine.toml" in text
    for part in (
        "backend",
        "modle: unknown key; did you mean 'model'?",
        "model.l2",
        "model.max_items",
    ):
        assert part in text
    assert "model.decai: unknown key; did you mean 'decay'?" in text


def test_an_unknown_name_is_listed_with_what_else_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(tmp_path, 'name = "eese"\nbakend = "numpy"\n'))
    assert "did you mean 'ease'" in str(caught.value)
    assert "did you mean 'backend'" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "name = 3\n", 'name = ["ease"]\n', 'name = "ease"\nmodel = 3\n']
)
def test_a_recipe_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="1 mistake"):
        load_recipe(write(tmp_path, text))


def test_an_unknown_recipe_or_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ease'"):
        load_recipe("eas")
    with pytest.raises(ConfigError, match="no recipe of that name"):
        load_recipe("nowhere/ease")
