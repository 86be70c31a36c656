from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from falconer.pipelines.config import (
    Config,
    apply_overrides,
    find_recipe,
    parse,
    read_toml,
    to_toml,
)
from falconer.pipelines.errors import ConfigError


class _ByTime(Config):
    protocol: Literal["temporal"]
    test_days: int = Field(default=28, gt=0)


class _ByUser(Config):
    protocol: Literal["held_out_users"]
    test_users: int


class _Recipe(Config):
    name: str
    split: Annotated[_ByTime | _ByUser, Field(discriminator="protocol")]
    engine: Literal["nvtabular", "polars"] = "nvtabular"


def test_every_mistake_is_listed_at_once_with_path_value_and_nearest_key() -> None:
    values = {
        "nam": "x",
        "split": {"protocol": "temporal", "test_day": 3, "test_days": 0},
        "engine": "polar",
    }
    with pytest.raises(ConfigError) as caught:
        parse(_Recipe, values, "shop.toml")
    text = str(caught.value)
    assert text.startswith("shop.toml: 5 mistakes")
    assert "name: required, and absent" in text
    assert "nam: unknown key; did you mean 'name'?" in text
    assert "test_day: unknown key; did you mean 'test_days'?" in text
    assert "test_days: input should be greater than 0 (given: 0)" in text
    assert "did you mean 'polars'?" in text


class _Table(Config):
    path: str
    key: str
    time: str | None = None


class _Tables(Config):
    users: _Table | None = None
    days: tuple[_ByTime, ...] = ()
    free: _Recipe | None = None


def test_a_value_where_a_table_is_wanted_is_told_its_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(_Tables, {"users": "u.csv", "days": [3], "free": 1}, "x.toml")
    text = str(caught.value)
    assert "users: is a table, { path = ..., key = ... } (given: 'u.csv')" in text
    assert "days.0: is a table of keys (given: 3)" in text
    assert "instance of" not in text


def test_unknown_key_without_a_near_one_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"split.zzz: unknown key; known keys: protocol, test_users"
    ):
        parse(
            _Recipe,
            {"name": "x", "split": {"protocol": "held_out_users", "test_users": 1, "zzz": 2}},
            "a.toml",
        )


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"protocol": "temporl"},
            "split.protocol: 'temporl' is not known; did you mean 'temporal'?",
        ),
        (
            {"protocol": "zzz"},
            "split.protocol: 'zzz' is not known; known: 'temporal', 'held_out_users'",
        ),
        ({"test_days": 3}, "split.protocol: required, and absent"),
    ],
)
def test_a_wrong_choice_of_table_names_the_key_and_the_nearest_one(
    split: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(_Recipe, {"name": "x", "split": split}, "a.toml")
    assert str(caught.value) == f"a.toml: 1 mistake\n  - {message}"


def test_overrides_are_toml_values_and_bare_words_are_strings() -> None:
    values = {"split": {"protocol": "temporal"}}
    result = apply_overrides(
        values, ["split.test_days=14", "engine=polars", 'name="a b"', "new.list=[1, 2]"]
    )
    assert result == {
        "split": {"protocol": "temporal", "test_days": 14},
        "engine": "polars",
        "name": "a b",
        "new": {"list": [1, 2]},
    }
    assert values == {"split": {"protocol": "temporal"}}


@pytest.mark.parametrize("override", ["no-equals", "=3", "engine.name=x"])
def test_an_override_that_cannot_be_applied_is_named(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"engine": "polars"}, [override])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"a = [1,", "not valid TOML"), (b"a = '\xff'", "not UTF-8"), (None, "no such file")],
)
def test_a_file_that_is_no_toml_gives_one_clear_error(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        read_toml(path)


_scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
_keys = st.text(min_size=1, max_size=8)
_tables = st.recursive(
    st.dictionaries(_keys, st.one_of(_scalars, st.lists(_scalars, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(_keys, st.one_of(_scalars, inner), max_size=3),
    max_leaves=8,
)


@given(_tables)
def test_what_is_written_as_toml_reads_back_the_same(values: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(values)) == values


def test_none_is_left_out_of_toml() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None}})) == {"b": {}}


def test_recipes_are_found_by_relative_name_or_path(tmp_path: Path) -> None:
    (tmp_path / "ml-1m").mkdir()
    recipe = tmp_path / "ml-1m" / "ease.toml"
    recipe.write_text("")
    assert find_recipe("ml-1m/ease", tmp_path) == recipe
    assert find_recipe(str(recipe), tmp_path) == recipe
    with pytest.raises(ConfigError, match="did you mean 'ml-1m/ease'"):
        find_recipe("ml-1m/eas", tmp_path)
    with pytest.raises(ConfigError, match="no such recipe file"):
        find_recipe("ml-1m/absent.toml", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = 1".encode("utf-16"), "UTF-16"),
    ],
    ids=["nested", "digits", "utf-16"],
)
def test_toml_of_any_form_is_an_error_for_people(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said):
        read_toml(path)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(path) == {"a": 1}
    assert apply_overrides({}, ["a=" + "[" * 5000])["a"].startswith("[")
