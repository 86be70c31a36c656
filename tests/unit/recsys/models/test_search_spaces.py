from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.recsys.models.recipe import load_search


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (
            '"model.max_item" = { low = 1, high = 2 }',
            "model.max_item: unknown key; did you mean 'max_items'",
        ),
        ('"l2" = { low = 1.0, high = 2.0 }', 'write "model.<knob>"'),
        ('"model.l2" = { low = -1.0, high = 2.0 }', "model.l2: .*greater"),
        ('"model.max_items" = { low = 10.0, high = 20.0 }', "model.max_items: .*integer"),
        ('"model.max_items" = { choices = [10, "many"] }', "model.max_items: a number is wanted"),
        ('"model.l2" = { lo = 1.0, high = 2.0 }', "lo: unknown key; did you mean 'low'"),
        ('"model.l2" = { low = 1.0 }', "give low and high"),
        (
            '"model.l2" = { low = 1.0, high = 2.0, choices = [1.0] }',
            "either choices, or low and high",
        ),
        ('"model.l2" = { choices = [1.0], log = true }', "either choices"),
        ('"model.l2" = { low = 2.0, high = 2.0 }', "low must be less"),
        ('"model.decay" = { low = 0.0, high = 1.0, log = true }', "begin above 0"),
        ('"model.l2" = { choices = [1.0, 1.0] }', "named twice"),
        ('"model.l2" = { choices = [] }', "give low and high, or choices"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(line: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=match):
        load_search(written(tmp_path, f'name = "ease"\n[search]\n{line}\n'))


def test_all_mistakes_of_a_space_are_listed(tmp_path: Path) -> None:
    text = (
        'name = "ease"\n[search]\n'
        '"model.l3" = { low = 1, high = 2 }\n"l2" = { low = 1, high = 2 }\n'
    )
    with pytest.raises(ConfigError, match=r"2 mistakes in search(.|\n)*l3(.|\n)*l2: is no knob"):
        load_search(written(tmp_path, text))
