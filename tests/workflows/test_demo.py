"""The demo's parts; the whole of it runs for minutes and is in `tests/benchmarks`."""

from __future__ import annotations

import pytest
import typer

from falconer.pipelines.stages import recipe_names
from falconer.recsys.models.recipe import load_recipe
from falconer.workflows.demo import DATASET, MODELS, falconer


def test_every_recipe_of_the_demo_is_there() -> None:
    assert DATASET in recipe_names()
    for model in MODELS:
        load_recipe(f"{DATASET}/{model}")


def test_a_command_passes_its_lines_on_and_gives_the_last_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert falconer("metrics", "explain", "ndcg@10").strip()
    printed = capsys.readouterr().out
    assert printed.startswith("\n$ falconer metrics explain ndcg@10\n")
    assert len(printed.splitlines()) > 3


def test_a_command_that_fails_ends_the_demo_with_its_exit_code() -> None:
    with pytest.raises(typer.Exit) as ended:
        falconer("train", "no-such-model", "--data", "nowhere")
    assert ended.value.exit_code == 2
