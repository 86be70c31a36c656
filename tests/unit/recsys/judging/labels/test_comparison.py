"""Models of the ranking task beside each other: verdict, page, commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.labels import judge as judging
from falconer.recsys.reporting import labels_page as comparison_page
from falconer.workflows import cli
from tests.support.judging import (
    FEW,
    compare_labels,
    comparison_of,
    judge_labels,
    judged_clicks,
    true_probability,
)


def noisy(data: Dataset, scale: float, seed: int = 0) -> Any:
    """The true probabilities, with so much noise in their logits."""
    p = true_probability(data)
    return 1 / (
        1
        + np.exp(
            -np.log(p / (1 - p)) - np.random.default_rng(seed).normal(scale=scale, size=len(p))
        )
    )


def test_a_clear_lead_is_a_lead_and_noise_is_not(clicks: Dataset) -> None:
    best, near, far = (
        judged_clicks(clicks, noisy(clicks, s), label)
        for s, label in ((0, "best"), (0.01, "near"), (3, "far"))
    )
    found = compare_labels([far, near, best])
    assert found.metric == "roc_auc"
    assert found.reports[-1].label == "far"
    assert found.verdict.startswith("No winner: ")
    assert found.letters == {"best": "a", "near": "a", "far": "b"}
    assert compare_labels([far, best]).verdict.startswith("best (roc_auc 0.")
    assert "leads" in compare_labels([far, best]).verdict
    assert "nothing to compare" in compare_labels([best]).verdict


def test_a_metric_of_which_less_is_better_orders_the_other_way(clicks: Dataset) -> None:
    best, far = (
        judged_clicks(clicks, noisy(clicks, 0), "best"),
        judged_clicks(clicks, noisy(clicks, 3), "far"),
    )
    found = compare_labels([far, best], metric="log_loss")
    assert [report.label for report in found.reports] == ["best", "far"]
    assert found.differences[0].difference < 0
    assert "leads, 0." in found.verdict
    with pytest.raises(ConfigError, match="no metric of the task `labels`"):
        compare_labels([far, best], metric="ndcg@10")


def test_the_plain_baseline_is_named_where_it_is_not_beaten(clicks: Dataset) -> None:
    plain, model = (
        judged_clicks(clicks, noisy(clicks, 0), "mean", model="label_mean"),
        judged_clicks(clicks, noisy(clicks, 3), "deep"),
    )
    assert "The plain baseline mean beats deep." in compare_labels([plain, model]).verdict
    turned = [
        judged_clicks(clicks, noisy(clicks, 0), "deep"),
        judged_clicks(clicks, noisy(clicks, 3), "mean", model="label_mean"),
    ]
    assert compare_labels(turned).verdict.endswith("deep beats every plain baseline here (mean).")


def test_what_was_judged_otherwise_is_not_compared(clicks: Dataset, tmp_path: Path) -> None:
    score = true_probability(clicks)
    first = judged_clicks(clicks, score)
    valid = judge_labels(
        true_probability(clicks, "valid"), clicks, fold="valid", label="v", config=FEW
    )
    other = judge_labels(
        score, clicks, fold="test", label="o", config=EvaluationConfig(resamples=100)
    )
    with pytest.raises(ArtifactError, match="same fold of the same dataset"):
        compare_labels([first, valid])
    with pytest.raises(
        ArtifactError, match="evaluate both with the same level, resamples and seed"
    ):
        compare_labels([first, other])
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare_labels([])


def test_intervals_of_differences_are_paired(clicks: Dataset) -> None:
    first, second = (
        judged_clicks(clicks, noisy(clicks, 0), "a"),
        judged_clicks(clicks, noisy(clicks, 0.2), "b"),
    )
    (gap,) = compare_labels([first, second]).differences
    alone = first.report.metrics["roc_auc"]
    assert gap.high - gap.low < 0.5 * (alone.high - alone.low)  # type: ignore[operator]


def test_the_page_shows_the_verdict_the_values_and_the_calibration(
    run: Path, clicks: Dataset, tmp_path: Path
) -> None:
    mean = judging.read(run / "labels")
    found = comparison_of([mean, judged_clicks(clicks, true_probability(clicks), "best")])
    html = comparison_page.render(found, clicks, [Run.open(run)])
    for part in (
        "2 models on clicks",
        "best (roc_auc",
        "expected_calibration_error",
        "as given",
        "The runs",
    ):
        assert part in html
    assert html.count("<figure>") == 3


def test_the_commands_from_training_to_the_page(
    clicks: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for by in ("item", "category"):
        assert (
            cli.run(
                [
                    "train",
                    "label_mean",
                    "--data",
                    str(clicks.path),
                    "--runs",
                    str(runs),
                    "--set",
                    f"model.by={by}",
                ]
            )
            == 0
        )
        path = capsys.readouterr().out.splitlines()[-1]
        assert cli.run(["predict", path]) == 0
        assert cli.run(["evaluate", path, "--set", "resamples=100"]) == 0
        assert "roc_auc" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert (
        cli.run(["compare", *map(str, runs.glob("2*")), "--out", str(page), "--metric", "log_loss"])
        == 0
    )
    assert "log_loss" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
