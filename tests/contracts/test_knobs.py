"""One name for one meaning: the knobs of every registered model, as docs/models.md lists them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import get_origin

import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError
from falconer.recsys.models.registry import MODELS

GUIDE = Path(__file__).resolve().parents[2] / "docs/models.md"
ROW = re.compile(r"^\| `(?P<knob>\w+)` \| (?P<meaning>[^|]+) \| (?P<models>[\w, ]+) \|$", re.M)
FORMER = [(name, old, new) for name in MODELS for old, new in MODELS[name].config.renamed.items()]


def knobs() -> dict[str, set[str]]:
    """Knob -> the models that have it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, model in MODELS.items():
        for knob in model.config.model_fields:
            found[knob].add(name)
    return found


def listed() -> dict[str, set[str]]:
    """The same, as the guide has it."""
    rows = ROW.findall(GUIDE.read_text(encoding="utf-8").partition("## Names of knobs")[2])
    assert len({knob for knob, _, _ in rows}) == len(rows), "a knob is listed twice"
    assert len({meaning for _, meaning, _ in rows}) == len(rows), "one meaning has two names"
    return {
        knob: set(MODELS) if models == "all" else set(models.split(", "))
        for knob, _, models in rows
    }


def test_the_guide_lists_every_knob_once_with_its_models() -> None:
    assert listed() == dict(knobs())


def test_a_knob_is_of_one_type_in_all_models() -> None:
    for knob, models in knobs().items():
        kinds = {MODELS[name].config.model_fields[knob].annotation for name in models}
        plain = {
            get_origin(kind) or kind
            for kind in kinds
            if not str(kind).endswith("Training'>")  # one class a family, with its own defaults
        }
        assert len(plain) <= 1, (knob, plain)


@pytest.mark.parametrize(("name", "old", "new"), FORMER, ids=[f"{n}-{o}" for n, o, _ in FORMER])
def test_a_former_name_is_refused_with_the_new_one(name: str, old: str, new: str) -> None:
    assert old not in knobs()
    with pytest.raises(ConfigError, match=f"{old}: is called '{new}' now"):
        parse(MODELS[name].config, {old: 1}, "recipe")
