"""From a user's own VOC folder to a report, a page, and boxes in other pictures."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.runs import Run
from falconer.vision.detection import converting, stages
from falconer.vision.detection.data import open_data
from tests.support.small_training import FORKS
from tests.support.squares import QUICK, write_folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures, and an evaluated run."""
    root = tmp_path_factory.mktemp("squares")
    data = write_folder(root / "squares")
    run = stages.train("ssd", str(data), root / "runs", overrides=QUICK)
    return data, stages.evaluate(run)


def test_a_report_has_metrics_and_a_page_with_pictures(
    trained: tuple[Path, Path],
) -> None:
    _, run = trained
    report = stages.read_judged(Run.open(run)).report
    assert (report.n_pictures, report.n_boxes, report.classes) == (2, 4, ("blue", "red"))
    assert {"map", "map@.5", "ap@.5 red", "ap@.5 blue"} <= report.metrics.keys()
    none = {"mean": 0.0, "low": None, "high": None}  # of what no draw of the pictures changes
    assert all(
        one.model_dump(include=none.keys()) == none or one.low <= one.mean <= one.high
        for one in report.metrics.values()
    )
    assert sum(report.errors.values()) > 0
    html = (run / "detection" / "report.html").read_text(encoding="utf-8")
    assert html.count("<image href=") == 2
    assert "stroke-dasharray" in html
    assert "NaN" not in html


def test_pictures_of_another_folder_are_searched_and_what_is_none_is_set_aside(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    data, run = trained
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "a.png").write_bytes((data / "JPEGImages" / "p1.png").read_bytes())
    (frames / "broken.jpg").write_text("no picture")
    (frames / "empty.png").touch()
    out = stages.detect(run, [frames], tmp_path / "out", threshold=0.0)
    (line,) = map(json.loads, (out / "detections.jsonl").read_text().splitlines())
    assert sum(line["counts"].values()) == len(line["boxes"]) > 0
    assert {one["class"] for one in line["boxes"]} <= {"red", "blue"}
    aside = [
        json.loads(text)["path"] for text in (out / "set_aside.jsonl").read_text().splitlines()
    ]
    assert aside == [str(frames / "broken.jpg"), str(frames / "empty.png")]
    with Image.open(out / "a-boxes.jpg") as drawn:
        assert drawn.size == (128, 96)
    with pytest.raises(DataError, match="no such file or folder"):
        stages.detect(run, [tmp_path / "nothing"], tmp_path / "none")


def test_pictures_of_one_name_are_drawn_apart(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        shutil.copy(data / "JPEGImages" / "p0.png", tmp_path / folder / "frame.png")
    stages.detect(run, [tmp_path / "monday", tmp_path / "tuesday"], tmp_path / "out")
    drawn = sorted(path.name for path in (tmp_path / "out").glob("*.jpg"))
    assert drawn == ["frame-boxes-2.jpg", "frame-boxes.jpg"]


def test_the_model_directory_is_all_that_detecting_needs(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    data, run = trained
    copied = tmp_path / "model"
    copied.mkdir()
    for path in (run / "model").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    picture = data / "JPEGImages" / "p0.png"
    lines = [
        (stages.detect(model, [picture], tmp_path / name, threshold=0.0) / "detections.jsonl")
        for name, model in (("a", run), ("b", copied))
    ]
    assert lines[0].read_text() == lines[1].read_text()
    weights = copied / "weights.safetensors"
    spoiled = bytearray(weights.read_bytes())
    spoiled[-1] ^= 1
    weights.write_bytes(spoiled)
    with pytest.raises(ArtifactError, match="damaged"):
        stages.detect(copied, [picture], tmp_path / "c", threshold=0.0)


def test_a_model_is_not_judged_on_other_classes(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, run = trained
    other = write_folder(tmp_path / "other")
    for path in (other / "Annotations").iterdir():
        path.write_text(path.read_text().replace("red", "green"))
    with pytest.raises(DataError, match="trained on blue, red"):
        stages.evaluate(run, source=str(other))


def test_a_folder_without_lists_is_split_by_names_and_stays_so(tmp_path: Path) -> None:
    data = open_data(str(write_folder(tmp_path / "few", 30, lists=False)), tmp_path)
    before = {one.path.name: split for split, part in data.parts.items() for one in part.pictures}
    assert set(before.values()) == {"train", "val", "test"}
    (tmp_path / "few" / "Annotations" / "p3.xml").unlink()
    later = open_data(str(tmp_path / "few"), tmp_path)
    after = {one.path.name: split for split, part in later.parts.items() for one in part.pictures}
    assert after == {name: split for name, split in before.items() if name != "p3.png"}
    assert later.dataset_id != data.dataset_id


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_converting_keeps_boxes_classes_and_splits(tmp_path: Path, form: str) -> None:
    first = open_data(str(write_folder(tmp_path / "in")), tmp_path)
    found = open_data(
        str(converting.convert(str(tmp_path / "in"), tmp_path / "out", form)), tmp_path
    )
    assert found.classes == first.classes
    for split, part in first.parts.items():
        for one, other in zip(part.pictures, found.part(split).pictures, strict=True):
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-9)
            assert one.labels.tolist() == other.labels.tolist()
    with pytest.raises(ConfigError, match="exists already"):
        converting.convert(str(tmp_path / "in"), tmp_path / "out", form)


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        stages.train("ssd", str(tmp_path / "nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="none of the three forms"):
        open_data(str(tmp_path / "empty"), tmp_path)
    with pytest.raises(ConfigError, match=r"network\.name must be one of"):
        stages.train("ssd", str(tmp_path), tmp_path, overrides=['model.network.name="resnet101"'])
    data = write_folder(tmp_path / "data")
    with pytest.raises(DataError, match="there is no split 'night'"):
        open_data(str(data), tmp_path).part("night")
    (data / "ImageSets/Main/train.txt").write_text("p0\n")
    with pytest.raises(DataError, match="at least two pictures"):
        stages.train("ssd", str(data), tmp_path / "runs", overrides=QUICK)


def die_while_training(root: Path) -> None:
    """Train as the run `trained` was, in a process that ends as after kill -9: what it wrote last
    is in no checkpoint."""
    os.environ["FALCONER_TRACKING"] = "off"
    log = Run.log_metrics

    def log_and_die(self: Run, step: int, values: dict[str, float]) -> None:
        log(self, step, values)
        if step >= 2:
            os.kill(os.getpid(), signal.SIGKILL)

    Run.log_metrics = log_and_die  # type: ignore[assignment, method-assign]
    stages.train("ssd", str(root / "squares"), root / "runs", overrides=QUICK, run_id="killed")


def test_a_killed_training_goes_on_to_the_same_bytes(trained: tuple[Path, Path]) -> None:
    data, whole = trained
    process = FORKS.Process(target=die_while_training, args=(data.parent,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (killed,) = (data.parent / "runs").glob("*-killed")
    assert not (killed / "model").exists()
    stages.resume(killed)
    files = sorted(path.name for path in (whole / "model").iterdir() if path.name != "model.json")
    assert any(name.endswith(".safetensors") for name in files)
    for name in files:
        assert (killed / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    with pytest.raises(ArtifactError, match="finished; there is nothing to resume"):
        stages.resume(killed)
