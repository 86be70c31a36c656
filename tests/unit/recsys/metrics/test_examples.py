"""Every metric has an example, and examples come out as they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
from functools import partial
from typing import Any

import pytest

from falconer.recsys.metrics.accuracy import METRICS
from falconer.recsys.metrics.beyond import BEYOND_METRICS
from falconer.recsys.metrics.exposure import LIST_METRICS
from falconer.recsys.metrics.labels import BINARY_METRICS
from falconer.recsys.metrics.rating import RATING_METRICS

TABLES: dict[str, Any] = {
    "accuracy": METRICS,
    "beyond": BEYOND_METRICS,
    "exposure": LIST_METRICS,
    "labels": BINARY_METRICS,
    "rating": RATING_METRICS,
}


@pytest.mark.parametrize("name", [*TABLES, "off_policy", "ranked"])
def test_examples_come_out(name: str) -> None:
    module = importlib.import_module(f"falconer.recsys.metrics.{name}")
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", TABLES)
def test_every_metric_has_an_example(name: str) -> None:
    functions = [definition.function for definition in TABLES[name].values()]
    plain = [one.func if isinstance(one, partial) else one for one in functions]
    assert [one.__name__ for one in plain if ">>>" not in (inspect.getdoc(one) or "")] == []
