"""All metrics by name, and their definitions in words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics.accuracy import METRICS
from falconer.recsys.metrics.beyond import BEYOND_METRICS
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.exposure import LIST_METRICS
from falconer.recsys.metrics.labels import BINARY_METRICS
from falconer.recsys.metrics.rating import RATING_METRICS

KINDS: Mapping[str, Mapping[str, Definition[Any]]] = {
    "one value a query": METRICS,
    "one value a list": BEYOND_METRICS,
    "one value for all lists": LIST_METRICS,
    "one value for all rows of (label, score)": BINARY_METRICS,
    "one value for all rows of (rating, prediction)": RATING_METRICS,
}


def known_metrics() -> tuple[str, ...]:
    """Names of all metrics of ranked lists, in the order in which reports print them."""
    return (*METRICS, *BEYOND_METRICS, *LIST_METRICS)


def definition_of(name: str, k: int) -> str:
    """The definition of a metric of lists at cut-off k, with its rules and its source; `KeyError`
    if unknown."""
    found: Mapping[str, Definition[Any]] = {**METRICS, **BEYOND_METRICS, **LIST_METRICS}
    return found[name].sentence(k)


def more_is_better(name: str) -> bool:
    """Whether a metric of lists tells who is better by being higher; `KeyError` if unknown."""
    found: Mapping[str, Definition[Any]] = {**METRICS, **BEYOND_METRICS, **LIST_METRICS}
    return found[name].better == "higher"


def explain(metric: str) -> str:
    """All that is known about a metric ("ndcg@10", "gauc"), in lines to print.

    Raises `ConfigError` for an unknown metric, a cut-off that is no whole number, and one where
    there are none.
    """
    name, at, cut = metric.partition("@")
    kind, found = _found(name)
    lists = name in known_metrics()
    if at and not (lists and cut.isdigit() and int(cut) > 0):
        raise ConfigError(
            f"{metric}: {'the cut-off must be 1 or more' if lists else f'{name} has no cut-off'}"
        )
    lines = {
        "what": found.text,
        "formula": found.formula,
        "denominator": found.denominator,
        "mean": found.rules,
        "ties": found.ties,
        "no relevant item": found.without_relevant,
        "bounds": f"{_bound(found.bounds[0])} to {_bound(found.bounds[1])}; better: {found.better}",
        "source": found.source,
    }
    body = [f"  {key:<17} {text}" for key, text in lines.items() if text]
    return "\n".join([f"{metric}: {kind}", *body]).replace("{k}", cut or "k")


def summary() -> str:
    """Every metric's name and first sentence, kind by kind, in lines to print."""
    parts = []
    for kind, table in KINDS.items():
        lines = [
            f"  {name:<28} {found.text.partition('. ')[0].rstrip('.')}"
            for name, found in table.items()
        ]
        parts.append("\n".join([f"{kind}:", *lines]))
    return "\n\n".join(parts).replace("{k}", "k")


def _found(name: str) -> tuple[str, Definition[Any]]:
    for kind, table in KINDS.items():
        if name in table:
            return kind, table[name]
    names = [name for table in KINDS.values() for name in table]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{name!r} is no metric; {hint}there are {', '.join(names)}")


def _bound(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:g}"
