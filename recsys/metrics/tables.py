"""All metrics by name, and their definitions in words: ours, and those of other packages."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from falconer.pipelines import plugins
from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics.accuracy import METRICS
from falconer.recsys.metrics.beyond import BEYOND_METRICS
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.exposure import LIST_METRICS
from falconer.recsys.metrics.labels import BINARY_METRICS
from falconer.recsys.metrics.plugins import GROUP, Of, brought
from falconer.recsys.metrics.rating import RATING_METRICS

LISTS: Mapping[Of, Mapping[str, Definition[Any]]] = {
    "query": METRICS,
    "list": BEYOND_METRICS,
    "all lists": LIST_METRICS,
}
KIND_OF: Mapping[Of, str] = {
    "query": "one value a query",
    "list": "one value a list",
    "all lists": "one value for all lists",
    "row": "one value a row of (label, score)",
}
KINDS: Mapping[str, Mapping[str, Definition[Any]]] = {
    **{KIND_OF[of]: table for of, table in LISTS.items()},
    "one value for all rows of (label, score)": BINARY_METRICS,
    "one value for all rows of (rating, prediction)": RATING_METRICS,
}


def known_metrics() -> tuple[str, ...]:
    """Names of our metrics of ranked lists, in the order in which reports print them."""
    return (*METRICS, *BEYOND_METRICS, *LIST_METRICS)


def metric_of(of: Of, name: str) -> Definition[Any] | None:
    """The metric of ranked lists of that name, if it has one value of this."""
    found = metric_of_lists(name)
    return found[1] if found and found[0] == of else None


def metric_of_lists(name: str) -> tuple[Of, Definition[Any]] | None:
    """What the metric of ranked lists of that name has one value of, and its definition; None where
    there is none. Ours are found without a look at other packages."""
    for of, table in LISTS.items():
        if name in table:
            return of, table[name]
    plugin = brought(name)
    return (plugin.of, plugin.definition) if plugin and plugin.of != "row" else None


def metric_of_rows(name: str) -> Definition[Any] | None:
    """The metric of labelled rows of that name; None where there is none."""
    ours = {**BINARY_METRICS, **RATING_METRICS}.get(name)
    if ours:
        return ours
    plugin = brought(name)
    return plugin.definition if plugin and plugin.of == "row" else None


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise `ConfigError` where a name is that of no metric of ranked lists, nor of another
    package."""
    unknown = [name for name in names if metric_of_lists(name) is None and brought(name) is None]
    if unknown:
        there = (*known_metrics(), *plugins.installed(GROUP))
        raise ConfigError(f"unknown: {', '.join(unknown)}; there are {', '.join(there)}")


def bounds_of(name: str) -> tuple[float | None, float | None]:
    """The lowest and the highest value that a metric of lists can have; None = not bounded.
    `KeyError` if unknown."""
    return _listed(name).bounds


def definition_of(name: str, k: int) -> str:
    """The definition of a metric of lists at cut-off k, with its rules and its source; `KeyError`
    if unknown."""
    return _listed(name).sentence(k)


def more_is_better(name: str) -> bool:
    """Whether a metric of lists tells who is better by being higher; `KeyError` if unknown."""
    return _listed(name).better == "higher"


def _listed(name: str) -> Definition[Any]:
    found = metric_of_lists(name)
    if found is None:
        raise KeyError(name)
    return found[1]


def explain(metric: str) -> str:
    """All that is known about a metric ("ndcg@10", "gauc"), in lines to print.

    Raises `ConfigError` for an unknown metric, a cut-off that is no whole number, and one where
    there are none.
    """
    name, at, cut = metric.partition("@")
    kind, found = _found(name)
    lists = metric_of_lists(name) is not None
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
    parts += [_of_packages()] if plugins.installed(GROUP) else []
    return "\n\n".join(parts).replace("{k}", "k")


def _of_packages() -> str:
    """Nothing of them is imported to list them."""
    found = plugins.installed(GROUP)
    lines = [f"  {name:<28} {found[name].value}" for name in found if name not in known_metrics()]
    notes = [f"  note: {clash}" for clash in plugins.clashes(GROUP, known_metrics())]
    return "\n".join(["of other packages:", *lines, *notes])


def _found(name: str) -> tuple[str, Definition[Any]]:
    for kind, table in KINDS.items():
        if name in table:
            return kind, table[name]
    if plugin := brought(name):
        return KIND_OF[plugin.of], plugin.definition
    names = [name for table in KINDS.values() for name in table]
    names += plugins.installed(GROUP)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{name!r} is no metric; {hint}there are {', '.join(names)}")


def _bound(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:g}"
