"""A switch is no number and a number in quotes is a text: refused by the key's name, with what to
write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator

from falconer.pipelines.config import Config, parse
from falconer.pipelines.errors import ConfigError
from falconer.recsys.models.als.config import AlsConfig


class Range(Config):
    low: float


class Checked(Config):
    """With a check of its own."""

    n: int = 1

    @model_validator(mode="after")
    def _check(self) -> Checked:
        return self


class Recipe(Config):
    n: int = 1
    rate: float | None = None
    on: bool = False
    sizes: tuple[int, ...] = ()
    shares: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    k: Literal["auto"] | int = "auto"
    text: str = ""
    either: int | str = 0
    path: Path | None = None
    flag: bool | Literal["some"] = False
    ends: float | Range = 0.0
    checked: Checked = Checked()


NUMBER = "a number is wanted"
SWITCH = "true or false is wanted, without quotes"
REFUSED: list[tuple[str, Any, str]] = [
    ("n", True, f"n: {NUMBER}, which true is not"),
    ("n", "5", f"n: {NUMBER}: write 5 without quotes"),
    ("rate", " -0.5 ", f"rate: {NUMBER}: write -0.5 without quotes"),
    ("rate", "many", f"rate: {NUMBER} \\(given: 'many'\\)"),
    ("rate", False, f"rate: {NUMBER}, which false is not"),
    ("sizes", [4, "8"], f"sizes.1: {NUMBER}: write 8 without quotes"),
    ("sizes", [True], f"sizes.0: {NUMBER}, which true is not"),
    ("shares", {"a": "1"}, f"shares.a: {NUMBER}: write 1 without quotes"),
    ("k", "5", f"k.int: {NUMBER}: write 5 without quotes"),
    ("k", True, f"k.int: {NUMBER}, which true is not"),
    ("on", 1, f"on: {SWITCH}"),
    ("on", "yes", f"on: {SWITCH}"),
    ("on", "true", f"on: {SWITCH}"),
    ("flag", 0, f"flag.bool: {SWITCH}"),
    ("either", True, f"either.int: {NUMBER}, which true is not"),
    ("ends", "2", f"ends.float: {NUMBER}: write 2 without quotes"),
    ("checked", {"n": "2"}, f"checked.n: {NUMBER}: write 2 without quotes"),
    ("ends", {"low": "2"}, f"low: {NUMBER}: write 2 without quotes"),
]
TAKEN: dict[str, list[tuple[Any, Any]]] = {
    "n": [(5, 5), (5.0, 5)],
    "rate": [(3, 3.0), (None, None)],
    "on": [(True, True)],
    "sizes": [([1, 2], (1, 2))],
    "shares": [({"a": 0.5}, {"a": 0.5})],
    "k": [("auto", "auto"), (7, 7)],
    "text": [("5", "5")],
    "either": [("5", "5"), (5, 5)],
    "path": [("5", Path("5"))],
    "flag": [("some", "some"), (True, True)],
    "ends": [({"low": 2}, Range(low=2)), (1, 1.0)],
}


@pytest.mark.parametrize(
    ("key", "value", "message"), REFUSED, ids=[f"{key}={value!r}" for key, value, _ in REFUSED]
)
def test_what_only_looks_like_it_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Recipe, {key: value}, "shop.toml")


@pytest.mark.parametrize("key", TAKEN)
def test_what_is_of_the_kind_is_taken(key: str) -> None:
    for given, taken in TAKEN[key]:
        assert getattr(parse(Recipe, {key: given}, "shop.toml"), key) == taken


def test_every_mistake_is_still_listed_at_once() -> None:
    with pytest.raises(ConfigError, match="4 mistakes"):
        parse(Recipe, {"n": "5", "on": 1, "rate": True, "sizes": ["1"]}, "shop.toml")


@pytest.mark.parametrize("settings", [{"model": {"dim": "8"}}, {"model": {"dim": True}}])
def test_a_recipe_of_ours_is_refused_by_the_key_s_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"dim: a number is wanted"):
        parse(AlsConfig, settings["model"], "als.toml")
