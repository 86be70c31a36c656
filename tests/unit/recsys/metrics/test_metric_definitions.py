"""What is said about metrics: every definition whole, the commands that print them, and the
document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics import definition_of, explain, known_metrics, summary
from falconer.recsys.metrics.compute import USUAL_METRICS
from falconer.recsys.metrics.tables import KINDS
from falconer.recsys.metrics.translate import TRANSLATIONS, VERSIONS, markdown, table
from falconer.workflows import cli
from tests.oracles import golden

ROOT = Path(__file__).resolve().parents[4]
NAMES = [name for table in KINDS.values() for name in table]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_explained_whole(name: str) -> None:
    text = explain(f"{name}@7" if name in known_metrics() else name)
    for key in (
        "what",
        "formula",
        "denominator",
        "mean",
        "ties",
        "no relevant item",
        "bounds",
        "source",
    ):
        assert re.search(rf"^  {key} +\S", text, re.M), key
    assert "{" not in text


@pytest.mark.parametrize("name", known_metrics())
def test_reports_carry_the_definition_with_its_cut_off(name: str) -> None:
    text = definition_of(name, 17)
    assert "17" in text
    assert "Source: " in text
    assert "{" not in text


def test_names_are_unique_and_the_usual_ones_known() -> None:
    assert len(set(NAMES)) == len(NAMES) == 32
    assert set(USUAL_METRICS) < set(known_metrics())


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("ndgc@10", "did you mean 'ndcg'"),
        ("xyz", "'xyz' is no metric; there are recall"),
        ("ndcg@0", "cut-off must be 1 or more"),
        ("ndcg@ten", "cut-off must be 1 or more"),
        ("ndcg@", "cut-off must be 1 or more"),
        ("gauc@10", "gauc has no cut-off"),
    ],
)
def test_what_is_no_metric_is_refused(metric: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain(metric)


def test_the_commands_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["metrics", "explain", "ndcg@10", "gauc"]) == 0
    assert capsys.readouterr().out == f"{explain('ndcg@10')}\n\n{explain('gauc')}\n"
    assert cli.run(["metrics", "explain"]) == 0
    assert capsys.readouterr().out == f"{summary()}\n"
    assert cli.run(["metrics", "translate", "ranx"]) == 0
    out = capsys.readouterr().out
    assert "r_precision" in out
    assert "lenskit" not in out
    assert cli.run(["metrics", "translate"]) == 0
    assert capsys.readouterr().out == f"{table()}\n"


@pytest.mark.parametrize("arguments", [["explain", "ndgc"], ["translate", "rnax"]], ids=" ".join)
def test_a_wrong_name_is_one_message(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["metrics", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("command", ["explain", "translate"])
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["metrics", command, "--help"]) == 0
    assert f"Example: falconer metrics {command}" in " ".join(capsys.readouterr().out.split())


def test_rows_name_known_metrics_and_stand_once() -> None:
    assert {row.ours for row in TRANSLATIONS} < set(known_metrics())
    assert len({(row.library, row.theirs) for row in TRANSLATIONS}) == len(TRANSLATIONS)
    assert {row.library for row in TRANSLATIONS} == set(VERSIONS)
    assert {row.library for row in TRANSLATIONS if row.tolerance > 1e-9} == {"torchmetrics"}
    assert all(f"{library} {version}\n" in table() for library, version in VERSIONS.items())


@pytest.mark.parametrize("library", VERSIONS)
def test_versions_are_those_that_were_compared_and_are_installed(library: str) -> None:
    assert golden.read(library)["version"] == VERSIONS[library]
    assert f'"{library}=={VERSIONS[library]}' in (ROOT / "scripts" / "oracles").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("library", VERSIONS)
def test_the_columns_of_the_table_stand_below_each_other(library: str) -> None:
    _, header, *lines = table([library]).splitlines()
    rows = [row for row in TRANSLATIONS if row.library == library]
    ours, how = header.index("ours"), header.index("conversion")
    for line, row in zip(lines, rows, strict=False):
        assert line[2:ours].rstrip() == row.theirs
        assert line[ours:how].rstrip() == row.ours
        assert line[how:].removesuffix(" *") == row.how


@pytest.mark.parametrize("name", ["ndcg", "recall"])
def test_a_share_lies_between_none_and_all(name: str) -> None:
    (found,) = [table[name] for table in KINDS.values() if name in table]
    assert (found.bounds, found.better) == ((0, 1), "higher")


def test_the_document_has_the_table() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert markdown() in text, (
        "docs/metrics.md is behind falconer.recsys.metrics.translate.markdown()"
    )
    assert all(library in text for library in VERSIONS)
