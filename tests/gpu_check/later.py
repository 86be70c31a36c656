"""Parts of the system that are found by their names: what is not there yet is said to be absent."""

from __future__ import annotations

import importlib

from tests.gpu_check.figures import AbsentError, Figure, Figures, Place

BENCHMARKS = {
    "resnet50": "tests.benchmarks.gpu_vision",
    "ssd300": "tests.benchmarks.gpu_ssd300",
    "tensorflow": "tests.benchmarks.gpu_tensorflow",
}
"""Modules with a function `figures(place)` that yields figures."""


def run(place: Place, name: str) -> Figures:
    """The figures of the benchmark of this name."""
    try:
        module = importlib.import_module(BENCHMARKS[name])
    except ModuleNotFoundError as error:
        raise AbsentError(f"not built yet ({error.name})") from error
    found: list[Figure] = list(module.figures(place))
    yield from found
