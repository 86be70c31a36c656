"""What happens where TensorFlow is not installed, and where it is asked for what it does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.recsys.configs.model import ModelConfig
from tests.support import tiny

HIDDEN = """
import sys
sys.modules["tensorflow"] = None
from falconer.pipelines.errors import MissingExtraError
from falconer.recsys.models import registry
for name, model in registry.MODELS.items():
    registry.resolve(name)
    if "tensorflow" in model.backends:
        try:
            registry.resolve(name, "tensorflow")
        except MissingExtraError as error:
            print(name, "tensorflow" in str(error) and "falconer[tensorflow]" in str(error))
"""


def test_without_tensorflow_every_other_backend_is_there_and_it_is_missed_by_name() -> None:
    found = subprocess.run(
        [sys.executable, "-c", HIDDEN], capture_output=True, text=True, timeout=240, check=True
    )
    named = dict(line.split() for line in found.stdout.splitlines())
    assert set(named) == {"wide_deep", "dlrm", "ncf", "vae_cf", "sasrec", "bert4rec"}
    assert set(named.values()) == {"True"}


def with_training(name: str, **knobs: object) -> ModelConfig:
    config = tiny.tiny_config(name)
    training = config.training.model_copy(update=knobs)  # type: ignore[attr-defined]
    return config.model_copy(update={"training": training})


@pytest.mark.parametrize(("knob", "value"), [("compile", True), ("optimizer", "sparse_adam")])
def test_a_knob_that_is_not_honoured_is_refused_by_name(
    knob: str, value: object, board: Dataset, tmp_path: Path
) -> None:
    config = with_training("vae_cf", **{knob: value})
    with pytest.raises(ConfigError, match=f"backend tensorflow: training.{knob}"):
        tiny.train("vae_cf", "tensorflow", board, tmp_path, config)


@pytest.mark.parametrize(
    "knobs",
    [
        {"optimizer": "adamw", "weight_decay": 0.01, "clip_norm": 0.5},
        {"optimizer": "sgd", "schedule": {"kind": "cosine"}, "warmup_steps": 2},
        {"optimizer": "adagrad", "accumulate": 3},
        {"ema_decay": 0.9},
        {"optimizer": "ftrl"},
    ],
)
def test_each_optimiser_and_schedule_trains_as_torchs(
    knobs: dict[str, object], board: Dataset, tmp_path: Path
) -> None:
    values = tiny.tiny_config("ncf").model_dump(mode="json")
    values["training"] |= {"epochs": 3, "validate_every": 1.0, **knobs}
    config = type(tiny.tiny_config("ncf")).model_validate(values)
    first, second = (
        tiny.train("ncf", backend, board, tmp_path / backend, config).read_lines("metrics.jsonl")
        for backend in ("torch", "tensorflow")
    )
    assert [line["loss"] for line in second] == pytest.approx(
        [line["loss"] for line in first], rel=1e-3
    )
