"""Every recipe that comes with the package, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.etl.recipe import RECIPES, load_recipe, recipe_names

NAMES = [
    "adult",
    "complete-journey",
    "criteo",
    "criteo-synthetic",
    "ml-100k",
    "ml-1m",
    "ml-1m-autoint",
    "ml-1m-ctr",
    "ml-1m-ncf",
    "ml-1m-sequences",
    "ml-1m-vae",
]


def test_the_recipes_are_found_by_walking() -> None:
    assert recipe_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid_and_says_at_its_top_which_protocol_it_follows(name: str) -> None:
    assert load_recipe(name).name == name
    assert (RECIPES / f"{name}.toml").read_text().startswith("# ")


def test_overrides_win() -> None:
    recipe = load_recipe("complete-journey", ["split.test_days=14", "features.engine=polars"])
    assert recipe.split.model_dump()["test_days"] == 14
    assert recipe.features.engine == "polars"


def test_three_mistakes_give_one_error_that_lists_them_all(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(
        """
        name = "wrong"
        [source]
        kind = "complete_journey"
        [split]
        protocol = "temporal"
        test_day = 7
        [catalogue]
        min_item_users = 0
        [features.item]
        department = { kind = "categorical", min_count = "many" }
        """
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(file))
    message = str(caught.value)
    assert message.startswith(f"{file}: 3 mistakes\n")
    for part in (
        "split.test_day: unknown key; did you mean 'test_days'?",
        "catalogue.min_item_users: ",
        "'many'",
    ):
        assert part in message


@pytest.mark.parametrize("name", ["../escape", "", "a b", ".hidden"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name: "):
        load_recipe("ml-100k", [f'name="{name}"'])


def test_an_unknown_recipe_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ml-1m'"):
        load_recipe("ml-1mm")
