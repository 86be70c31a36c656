"""Evaluated runs side by side: who leads, whether it is more than chance, and who cannot be
compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.vision.detection import stages as detection
from falconer.vision.stages.compare import compare
from falconer.vision.stages.evaluate import evaluate
from falconer.workflows import cli
from tests.support.pictures import colour_folder
from tests.support.squares import write_folder
from tests.support.vision_runs import classifier_run, detector_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def classifiers(place: Path) -> list[Path]:
    photos = colour_folder(place / "photos", n=15)
    runs = [classifier_run(place, photos, seed=seed) for seed in (0, 1)]
    for run in runs:
        evaluate(run)
    return runs


@pytest.fixture(scope="module")
def detectors(place: Path) -> list[Path]:
    squares = write_folder(place / "squares")
    return [detection.evaluate(detector_run(place, squares, seed=seed)) for seed in (0, 1)]


def test_classifiers_on_the_same_pictures(
    classifiers: list[Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = compare(classifiers, out=place / "comparison.html").read_text(encoding="utf-8")
    assert "Paired differences" in page
    assert "drawn, seed 1" in page
    printed = capsys.readouterr().out
    assert "top1, 9 pictures of test" in printed
    assert "behind the first" in printed
    with pytest.raises(ConfigError, match="is not kept for each picture"):
        compare(classifiers, out=place / "comparison.html", metric="macro_f1")
    with pytest.raises(ConfigError, match="two runs or more"):
        compare(classifiers[:1], out=place / "comparison.html")


def test_the_lower_loss_leads(
    classifiers: list[Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(classifiers, out=place / "comparison.html", metric="log_loss")
    lines = capsys.readouterr().out.splitlines()
    first, second, behind = lines[1].split(), lines[2].split(), lines[3].split()
    assert float(first[3]) < float(second[3])
    assert float(behind[0]) == pytest.approx(float(second[3]) - float(first[3]), abs=2e-4)


def test_classifiers_on_other_pictures_are_refused(
    classifiers: list[Path], place: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(classifiers[1], other)
    evaluate(other, fold="valid")
    shutil.rmtree(other / "test")
    (other / "valid").rename(other / "test")
    with pytest.raises(ConfigError, match="were not judged on the same pictures"):
        compare([classifiers[0], other], out=place / "comparison.html")


def test_pooled_answers_of_cross_validations(classifiers: list[Path], tmp_path: Path) -> None:
    folders = []
    for number, run in enumerate(classifiers):
        folders.append(tmp_path / str(number))
        shutil.copytree(run / "test", folders[-1] / "all")
    page = compare(folders, out=tmp_path / "comparison.html")
    assert "Paired differences" in page.read_text(encoding="utf-8")


def test_detectors_on_the_same_pictures(
    detectors: list[Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = compare(detectors, out=place / "boxes.html").read_text(encoding="utf-8")
    assert "Paired differences" in page
    printed = capsys.readouterr().out
    assert "map@.5, 2 pictures of test" in printed
    assert "within the noise" in printed
    with pytest.raises(ConfigError, match="has no ndcg"):
        compare(detectors, out=place / "boxes.html", metric="ndcg")
    with pytest.raises(ConfigError, match=r"was judged on test.*--split val"):
        compare(detectors, out=place / "boxes.html", fold="valid")


def test_detectors_that_were_not_judged_alike_are_refused(
    detectors: list[Path], place: Path, tmp_path: Path
) -> None:
    fresh = detector_run(tmp_path, place / "squares")
    with pytest.raises(ArtifactError, match="judge the run with"):
        compare([detectors[0], fresh], out=tmp_path / "c.html")
    detection.evaluate(fresh, split="val")
    with pytest.raises(ArtifactError, match="other pictures or boxes"):
        compare([detectors[0], fresh], out=tmp_path / "c.html")


def test_the_general_command_compares_runs_of_pictures(
    classifiers: list[Path],
    detectors: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for runs in (classifiers, detectors):
        out = tmp_path / "page.html"
        assert cli.run(["compare", *map(str, runs), "--out", str(out)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert cli.run(["compare", str(classifiers[0]), str(detectors[0])]) == 2
    assert "classifiers and detectors are not judged alike" in capsys.readouterr().err
    assert cli.run(["compare", *map(str, classifiers), "--set", "seed=1"]) == 2
    assert "without --data and --set" in capsys.readouterr().err
