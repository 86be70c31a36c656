"""How long the main job and its parts take, and in how much memory. Figures are printed, never
asserted."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from tests.benchmarks.measured import measure
from tests.benchmarks.small import SMALL, recipe_of, sized

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(1800)]


def _show(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs"))
    found = measure("demo", *sized(arguments, ("--help",)), folder=tmp_path)
    assert SMALL or Path(found.last_line).is_file()
    _show(
        capsys,
        f"demo, set-up apart: {found.seconds:.0f} s, largest process {found.peak_mb:,.0f} MB",
    )


def test_etl_of_complete_journey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of("complete-journey", tmp_path)
    found = measure("etl", recipe, "--out", str(tmp_path / "data"), folder=tmp_path)
    where = found.output[found.output.index("where the time went") :].strip()
    _show(capsys, f"etl complete-journey: {found.seconds:.1f} s, {found.peak_mb:,.0f} MB", where)


def test_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = [measure("--help", folder=tmp_path).seconds for _ in range(sized(11, 1))]
    _show(
        capsys,
        f"falconer --help: median of 11 {statistics.median(seconds):.2f} s, worst "
        f"{max(seconds):.2f} s",
    )


def test_leave_one_out_on_ml_1m(
    data_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of("ml-1m-sequences", tmp_path)
    dataset = measure("etl", recipe, "--out", str(tmp_path / "data"), folder=tmp_path).last_line
    lines = [
        "ML-1M, leave one out, whole catalogue, seen items filtered (train without the validation "
        "item)"
    ]
    for model in sized(("popularity", "item_knn", "ease", "als"), ("als",)):
        trained = measure(
            "train",
            f"ml-1m-sequences/{model}",
            "--data",
            dataset,
            "--runs",
            str(tmp_path / "runs"),
            folder=tmp_path,
        )
        measure("recommend", trained.last_line, folder=tmp_path)
        measure("evaluate", trained.last_line, folder=tmp_path)
        metrics = json.loads((Path(trained.last_line) / "novel" / "report.json").read_text())[
            "metrics"
        ]
        lines.append(
            f"  {model:<12} train command {trained.seconds:5.1f} s, {trained.peak_mb:6,.0f} MB, "
            f"recall@10 {metrics['recall@10']['mean']:.4f}, ndcg@10 "
            f"{metrics['ndcg@10']['mean']:.4f}"
        )
    _show(capsys, *lines)
