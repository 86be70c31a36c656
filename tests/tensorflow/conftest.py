from __future__ import annotations

import pytest

from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys.backends.tensorflow import runtime


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As the tiny models train: TensorFlow's threads are chosen once, before anything else."""
    runtime.settle(TrainingConfig(threads=1))
