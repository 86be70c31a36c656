"""What `compare` prints and writes of few and of many runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys import stages
from falconer.recsys.stages.finished import runs_and_reports
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
    assert len([line for line in printed if line.startswith("  ")]) == 2 * 6
    assert set(printed[:-1]) <= set(written)


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


def test_a_run_that_is_named_twice_is_compared_once(
    judged_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(judged_run.parent)
    spellings = [judged_run, Path(judged_run.name), judged_run / "novel" / ".."]
    assert runs_and_reports(spellings) == [judged_run.resolve()]
    page = stages.compare(spellings, out=tmp_path / "page.html")
    assert "1 recommender on board" in page.read_text(encoding="utf-8")
