"""Names of metrics and what is found by them: ours of each kind, other packages', and none."""

from __future__ import annotations

from typing import Any

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics import tables
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.labels import BINARY_METRICS
from falconer.recsys.metrics.plugins import MetricPlugin, Of
from falconer.recsys.metrics.rating import RATING_METRICS


def plugin(of: Of, better: str = "higher") -> MetricPlugin:
    return MetricPlugin(
        of,
        Definition(
            lambda *_: 0.0,
            "At {k}.",
            formula="0",
            denominator="1",
            source="a test",
            bounds=(None, 7),
            better=better,
        ),
    )


OF_QUERIES, OF_ROWS = plugin("query", "lower"), plugin("row")
LISTED = [(of, name) for of, table in tables.LISTS.items() for name in table]
OF_LABELS: dict[str, Definition[Any]] = {**BINARY_METRICS, **RATING_METRICS}


@pytest.mark.parametrize(("of", "name"), LISTED, ids=[name for _, name in LISTED])
def test_a_metric_of_lists_is_found_as_what_it_is(of: Of, name: str) -> None:
    mine = tables.LISTS[of][name]
    assert tables.metric_of_lists(name) == (of, mine)
    for other in tables.LISTS:
        assert tables.metric_of(other, name) is (mine if other == of else None)
    assert tables.metric_of_rows(name) is None
    assert tables.bounds_of(name) == mine.bounds
    assert tables.more_is_better(name) is (mine.better == "higher")
    assert tables.definition_of(name, 5) == mine.sentence(5)
    assert name in tables.known_metrics()


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_metric_of_rows_is_found_as_what_it_is(name: str) -> None:
    assert tables.metric_of_rows(name) is OF_LABELS[name]
    assert tables.metric_of_lists(name) is None
    assert name not in tables.known_metrics()


def test_metrics_of_packages_are_found_as_what_they_are() -> None:
    name, rows = f"{__name__}:OF_QUERIES", f"{__name__}:OF_ROWS"
    found = tables.metric_of_lists(name)
    assert found is not None
    assert (found[0], found[1].bounds) == ("query", (None, 7))
    assert tables.metric_of_rows(name) is None
    assert not tables.more_is_better(name)
    assert tables.metric_of_lists(rows) is None
    assert tables.metric_of_rows(rows) is not None
    tables.refuse_unknown([name, rows, "ndcg"])
    assert "bounds            unbounded to 7; better: lower" in tables.explain(f"{name}@3")


def test_what_is_nowhere_is_refused_with_what_there_is() -> None:
    assert tables.metric_of_lists("nowhere") is None
    assert tables.metric_of_rows("nowhere") is None
    for find in (tables.bounds_of, tables.more_is_better):
        with pytest.raises(KeyError, match="nowhere"):
            find("nowhere")
    with pytest.raises(ConfigError, match=r"^unknown: nowhere, lost; there are recall, .*gini"):
        tables.refuse_unknown(["ndcg", "nowhere", "lost"])
    with pytest.raises(ConfigError, match="'ndgc' is no metric; did you mean 'ndcg'"):
        tables.explain("ndgc")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("ndcg@0", "the cut-off must be 1 or more"),
        ("ndcg@x", "the cut-off must be 1 or more"),
        ("roc_auc@5", "roc_auc has no cut-off"),
    ],
)
def test_a_cut_off_that_cannot_be_is_refused(asked: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{asked}: {says}"):
        tables.explain(asked)


def test_the_summary_names_every_metric_below_its_kind() -> None:
    kind = ""
    found: dict[str, list[str]] = {}
    for line in filter(None, tables.summary().splitlines()):
        if line.startswith("  "):
            found[kind].append(line.split()[0])
        else:
            kind = line.rstrip(":")
            found[kind] = []
    ours = {kind: list(table) for kind, table in tables.KINDS.items()}
    assert {kind: names for kind, names in found.items() if kind in ours} == ours
