"""The registry holds every model there is, and every configuration refuses what makes no sense."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import falconer.recsys.models
from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models import registry
from tests.support.tiny import EVERY, TINY

FOLDER = Path(falconer.recsys.models.__file__).parent
FRAMEWORKS = ("torch", "tensorflow", "merlin", "nvtabular", "cudf", "implicit", "mlflow")


def test_every_folder_is_registered_and_every_line_has_a_folder() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert folders == set(registry.MODELS)


def test_every_backend_of_a_folder_is_registered() -> None:
    found = {(path.parent.name, path.stem.removeprefix("on_")) for path in FOLDER.glob("*/on_*")}
    assert found == set(EVERY)
    for name, model in registry.MODELS.items():
        for backend, module in model.backends.items():
            assert module == f"falconer.recsys.models.{name}.on_{backend}"


def test_tiny_forms_name_registered_models_only() -> None:
    assert set(TINY) <= set(registry.MODELS)


def test_looking_up_a_model_imports_no_framework() -> None:
    code = (
        "import sys, falconer.recsys.models.recipe; print(sorted(set(sys.modules) & "
        f"set({FRAMEWORKS})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


def test_an_unknown_model_and_an_unknown_backend_are_refused_with_the_near_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ease'"):
        registry.resolve("eese")
    with pytest.raises(ConfigError, match="only numpy"):
        registry.resolve("ease", "torch")


CONFIGS = {name: model.config for name, model in registry.MODELS.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_unknown_knob_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no_such_knob: unknown key"):
        parse(CONFIGS[name], {"no_such_knob": 1}, "recipe")


@pytest.mark.parametrize(
    "name", [name for name, config in CONFIGS.items() if "training" in config.model_fields]
)
def test_an_unknown_knob_of_the_training_is_refused_with_the_near_name(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"training\.learning_rat: unknown key; did you mean 'learning_rate'"
    ):
        parse(CONFIGS[name], {"training": {"learning_rat": 1}}, "recipe")


def numeric_knobs() -> list[tuple[type[ModelConfig], str]]:
    return [
        (config, knob)
        for config in CONFIGS.values()
        for knob, field in config.model_fields.items()
        if any(kind in str(field.annotation) for kind in ("int", "float"))
    ]


@pytest.mark.parametrize(("config", "knob"), numeric_knobs())
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "many"])
def test_every_number_has_bounds(config: type[ModelConfig], knob: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=knob):
        parse(config, {knob: value}, "recipe")


def test_the_readme_says_which_model_has_which_backend() -> None:
    text = (FOLDER.resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Models and frameworks")[2].partition("\n\n")[2].partition("\n\n")[0]
    heading, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    said = {
        (name, backend)
        for names, *cells in rows
        for name in names.split(", ")
        for backend, cell in zip(heading[1:], cells, strict=True)
        if cell == "yes"
    }
    registered = {
        (name, backend) for name, model in registry.MODELS.items() for backend in model.backends
    }
    assert said == registered
