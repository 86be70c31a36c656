"""Relevant items outside the catalogue: left out, or counted as misses, and said on every card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import ArtifactError
from falconer.recsys import stages
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.lists import judge as judging
from falconer.recsys.lists.stored import Lists
from tests.support.datasets import write_dataset
from tests.support.judging import compare_lists, judge_lists

LEFT_OUT = EvaluationConfig(k=(2,), resamples=100)
MISSES = EvaluationConfig(k=(2,), resamples=100, outside="misses")
N_OUTSIDE = np.array([1, 2, 0])
LISTS = Lists(np.array([[1, 0], [2, 1], [0, 2]], np.int32), np.ones(3, np.bool_))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Three users: one hit and one unknown item, only unknown items, one hit."""
    made = write_dataset(
        tmp_path / "data",
        train=[(0, 0, 0), (1, 1, 1), (2, 2, 2)],
        n_users=3,
        n_items=3,
        folds={"test": [(0, [0], [1]), (1, [1], []), (2, [2], [0])]},
    )
    blocks = judging.queries_and_truths

    def with_outside(data: Dataset, fold: str):  # type: ignore[no-untyped-def]
        for keys, queries, truth in blocks(data, fold):  # type: ignore[arg-type]
            yield keys, queries, replace(truth, n_outside=N_OUTSIDE)

    monkeypatch.setattr(judging, "queries_and_truths", with_outside)
    return made


@pytest.mark.parametrize(
    ("view", "left_out", "misses"),
    [("all", (2, 1.0), (3, (1 / 2 + 0 + 1) / 3)), ("novel", (2, 1.0), (3, (1 / 2 + 0 + 1) / 3))],
    ids=["all", "novel"],
)
def test_unknown_items_are_left_out_or_missed(
    data: Dataset, view: View, left_out: tuple[int, float], misses: tuple[int, float]
) -> None:
    for config, (n, recall) in ((LEFT_OUT, left_out), (MISSES, misses)):
        report = judge_lists(LISTS, data, config=config, view=view).report
        assert report.n_evaluated == n
        assert report.metrics["recall@2"].mean == pytest.approx(recall)
        assert report.n_outside == 3


def test_the_ideal_list_holds_the_unknown_items_too(data: Dataset) -> None:
    judged = judge_lists(LISTS, data, config=MISSES)
    both = 1 + 1 / np.log2(3)
    assert judged.report.metrics["ndcg@2"].mean == pytest.approx((1 / both + 0 + 1) / 3)


def test_report_and_definitions_say_which(data: Dataset) -> None:
    left_out, misses = (judge_lists(LISTS, data, config=one).report for one in (LEFT_OUT, MISSES))
    assert left_out.protocol["outside"].endswith("are left out")
    assert misses.protocol["outside"].endswith("count as misses")
    assert "in the catalogue or not" in misses.metrics["ndcg@2"].definition


def test_runs_that_differ_in_it_are_not_compared(data: Dataset) -> None:
    runs = [
        {"all": judge_lists(LISTS, data, config=one, label=label)}
        for label, one in (("a", LEFT_OUT), ("b", MISSES))
    ]
    with pytest.raises(ArtifactError, match="Evaluate both with the same `outside`"):
        compare_lists(runs, ComparisonConfig())  # type: ignore[arg-type]


def test_protocol_is_on_console_report_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_dataset(
        tmp_path / "data",
        train=[(0, 0, 0), (0, 1, 1), (1, 1, 1), (1, 0, 2)],
        n_users=2,
        n_items=3,
        folds={"test": [(0, [0], [2]), (1, [1], [2])]},
    )
    lists = tmp_path / "lists.csv"
    lists.write_text("user,item,rank\nu0,i2,1\nu1,i0,1\n")
    out = stages.evaluate(lists, made.path, config=MISSES, views=("all",))
    assert "protocol: split made; " in capsys.readouterr().out
    report = json.loads((out / "all" / "report.json").read_text())
    assert report["protocol"] == {"split": "made", "targets": "all held-out events of a user"} | {
        "outside": "items outside the catalogue count as misses"
    }
    page = stages.compare(
        [out],
        out=tmp_path / "page.html",
        data_path=made.path,
        config=ComparisonConfig(metric="ndcg@2"),
    )
    text = page.read_text()
    assert "Unknown items:</strong> items outside the catalogue count as misses." in text
    assert "Asked for:</strong> all held-out events of a user." in text
