"""What `compare` prints and writes of few and of many runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.stages import RecommendConfig
from falconer.recsys.stages.finished import runs_and_reports
from tests.support.datasets import write_labels_dataset
from tests.support.judging import QUICK


def copies(run: Path, n: int, root: Path) -> list[Path]:
    """The same lists, judged n times into folders of their own."""
    return [stages.evaluate(run, out=root / f"copy-{number}", config=QUICK) for number in range(n)]


def test_seven_runs_fit_a_screen_and_their_pairs_are_in_a_file(
    judged_run: Path, board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, page = copies(judged_run, 7, tmp_path), tmp_path / "seven.html"
    capsys.readouterr()
    stages.compare(runs, out=page, data_path=board.path)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) <= 24
    assert printed[-1] == f"all pairs: {tmp_path / 'seven-pairs.txt'}"
    written = (tmp_path / "seven-pairs.txt").read_text(encoding="utf-8").splitlines()
    assert len([line for line in written if line.startswith("  ")]) == 2 * 21
    shown = [line for line in printed if line.startswith("  ")]
    assert len(shown) == 2 * (1 + 6)
    assert max(map(len, shown)) <= 80
    assert len(set(shown)) == 1 + 6  # the same in both views
    assert {line for line in printed if line.startswith(("all: ", "novel: "))} <= set(written)


def test_three_runs_print_every_pair_and_leave_no_older_file(
    judged_run: Path, board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, page = copies(judged_run, 4, tmp_path), tmp_path / "page.html"
    stages.compare(runs, out=page, data_path=board.path)
    capsys.readouterr()
    stages.compare(runs[:3], out=page, data_path=board.path)
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("  ")]) == 2 * 3
    assert not (tmp_path / "page-pairs.txt").exists()


def test_two_variants_of_a_recipe_are_told_apart_by_their_knobs(
    board: Dataset, tmp_path: Path
) -> None:
    runs = []
    for neighbours in (3, 5, None):
        sets = [] if neighbours is None else [f"model.neighbours={neighbours}", "model.seed=0"]
        run = stages.train("item_knn", board.path, tmp_path / "runs", overrides=sets)
        stages.recommend(run, config=RecommendConfig(k=10))
        runs.append(stages.evaluate(run, config=QUICK))
    page = stages.compare(runs, out=tmp_path / "page.html").read_text(encoding="utf-8")
    for label in ("item_knn (neighbours=3)", "item_knn (neighbours=5)"):
        assert label in page.replace("<wbr>", "")
    assert "seed=0" not in page  # as in the recipe


def test_variants_of_a_model_of_labels_are_told_apart_by_their_knobs(tmp_path: Path) -> None:
    data, runs = write_labels_dataset(tmp_path / "clicks"), []
    for shrinkage in (1, 30):
        sets = [f"model.shrinkage={shrinkage}"]
        run = stages.train("label_mean", data.path, tmp_path / "runs", overrides=sets)
        stages.predict(run)
        runs.append(stages.evaluate(run, config=EvaluationConfig(resamples=100)))
    page = stages.compare(runs, out=tmp_path / "page.html").read_text(encoding="utf-8")
    assert "label_mean (shrinkage=1.0)" in page.replace("<wbr>", "")


def test_a_run_that_is_named_twice_is_compared_once(
    judged_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(judged_run.parent)
    spellings = [judged_run, Path(judged_run.name), judged_run / "novel" / ".."]
    assert runs_and_reports(spellings) == [judged_run.resolve()]
    page = stages.compare(spellings, out=tmp_path / "page.html")
    assert "1 recommender on board" in page.read_text(encoding="utf-8")
