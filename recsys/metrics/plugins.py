"""A metric of ranked lists or of labelled rows from another package: an entry point of the group
"falconer.metrics", or "mypackage.toy:METRIC" among the metrics that an evaluation is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from falconer.pipelines import plugins
from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.labels import ROWS

GROUP = "falconer.metrics"
Of = Literal["query", "list", "all lists", "row"]


@dataclass(frozen=True)
class MetricPlugin:
    """What a package brings: a metric, and what it has one value of.

    of          "query":     function(Ranked, k) -> float64[Q], NaN where there is no value
                "list":      function(Ranked, Context, k) -> float64[Q], as above
                "all lists": function(Exposure) -> float
                "row":       function(label float64[n], score float64[n]) -> float64[n], whose mean
                             is the metric: of the task `labels`
    definition  the function, and all that a report says of it
    """

    of: Of
    definition: Definition[Any]


def brought(name: str) -> MetricPlugin | None:
    """The metric of this name that another package brings, if any; its definition names the package
    and its version, so that reports of two versions are not compared.

    Raises `ConfigError` where the package has no such thing, or where it is no metric.
    """
    try:
        return _brought(name)
    except LookupError:
        return None


@cache  # asked for each block of queries; that there is none is asked anew, as a package may come
def _brought(name: str) -> MetricPlugin:
    plugin = plugins.load(name, GROUP)
    if plugin is None:
        raise LookupError(name)
    if not isinstance(plugin.value, MetricPlugin):
        raise ConfigError(
            f"{name} of {plugin.package}: is {type(plugin.value).__name__}, and "
            f"{MetricPlugin.__module__}.MetricPlugin is wanted"
        )
    definition = plugin.value.definition
    source = f"{definition.source}; package {plugin.package}"
    definition = replace(definition, source=source)
    if plugin.value.of == "row":
        definition = replace(definition, rules=ROWS, ties="", without_relevant="")
    return replace(plugin.value, definition=definition)
