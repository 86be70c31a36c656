"""VOC, COCO and YOLO: the same pictures come back from each, and what is wrong is set aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from falconer.pipelines.errors import DataError
from falconer.vision.detection.annotations import Annotated
from falconer.vision.detection.formats import coco, voc, yolo

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def picture(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 200)).save(path)
    return path


def objects(*boxes: tuple[float, ...], name: str = "cell", difficult: int = 0) -> str:
    return "".join(OBJECT.format(*box, name=name, difficult=difficult) for box in boxes)


def annotation(root: Path, stem: str, inside: str, filename: str | None = None) -> Path:
    target = root / "Annotations" / f"{stem}.xml"
    target.parent.mkdir(parents=True, exist_ok=True)
    name = f"{stem}.png" if filename is None else filename
    target.write_text(f"<annotation><filename>{name}</filename>{inside}</annotation>")
    return target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three pictures: two classes, a difficult box, one picture without boxes."""
    for stem in ("a", "b", "c"):
        picture(tmp_path / "JPEGImages" / f"{stem}.png")
    annotation(tmp_path, "a", objects((1, 1, 10, 20), (5, 6, 64, 48)))
    annotation(tmp_path, "b", objects((3, 4, 30, 40), name="Cell wall", difficult=1))
    annotation(tmp_path, "c", "")
    return tmp_path


def same(first: Annotated, second: Annotated, *, tolerance: float = 0.0) -> None:
    assert first.classes == second.classes
    assert second.rejected == ()
    for one, other in zip(first.pictures, second.pictures, strict=True):
        assert (one.path.name, one.width, one.height) == (
            other.path.name,
            other.width,
            other.height,
        )
        np.testing.assert_allclose(one.boxes, other.boxes, atol=tolerance)
        assert one.labels.tolist() == other.labels.tolist()


def test_voc_counts_pixels_from_one_and_keeps_names_as_written(root: Path) -> None:
    found = voc.read(root)
    assert found.classes == ("Cell wall", "cell")
    assert found.pictures[0].boxes.tolist() == [[0, 0, 10, 20], [4, 5, 64, 48]]
    assert found.pictures[1].difficult.tolist() == [True]
    assert len(found.pictures[2]) == 0
    assert found.n_boxes == 3


def test_the_three_forms_hold_the_same(root: Path, tmp_path: Path) -> None:
    first = voc.read(root)
    pictures = root / "JPEGImages"
    coco.write(first, tmp_path / "coco.json", pictures)
    same(first, coco.read(tmp_path / "coco.json", pictures))
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "images").symlink_to(pictures)
    yolo.write(first, tmp_path / "yolo", pictures, "")
    same(first, yolo.read(tmp_path / "yolo"), tolerance=1e-9)
    again = tmp_path / "again"
    again.mkdir()
    (again / "JPEGImages").symlink_to(pictures)
    voc.write(coco.read(tmp_path / "coco.json", pictures), again, "train")
    same(first, voc.read(again, "train"))


FAULTS = {
    "no area": (5, 5, 5, 30),
    "corners swapped": (30, 5, 10, 30),
    "outside the picture": (70, 5, 80, 30),
    "a coordinate is no number": ("nan", 5, 10, 30),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_box_that_cannot_be_used_is_set_aside_with_its_place(root: Path, reason: str) -> None:
    annotation(root, "a", objects((1, 1, 10, 20), FAULTS[reason]))  # type: ignore[arg-type]
    found = voc.read(root)
    assert found.reasons() == {reason: 1}
    assert "a.xml: box 1 (cell" in found.rejected[0].place
    assert len(found.pictures[0]) == 1


def test_what_hangs_over_the_rim_is_cut_off(root: Path) -> None:
    annotation(root, "a", objects((-4, -5, 90, 20)))
    assert voc.read(root).pictures[0].boxes.tolist() == [[0, 0, 64, 20]]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..\\x.png", "C:\\x.png"])
def test_a_picture_outside_the_folder_is_never_opened(root: Path, name: str) -> None:
    picture(root / "secret.png")
    annotation(root, "a", objects((1, 1, 10, 20)), filename=name)
    (rejected,) = voc.read(root).rejected
    assert "leads out" in rejected.reason or "not there" in rejected.reason


def test_a_link_out_of_the_folder_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = picture(tmp_path.parent / f"{tmp_path.name}-outside.png")
    (root / "JPEGImages" / "link.png").symlink_to(outside)
    annotation(root, "a", objects((1, 1, 10, 20)), filename="link.png")
    assert "leads out" in voc.read(root).rejected[0].reason


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
SPOILED = {
    "a document type": (BOMB, "document type"),
    "an outer entity": (
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
        "document type",
    ),
    "cut off": ("<annotation><filename>a.png</filename>", "no well-formed XML"),
    "no XML": ("\x00\x01", "no well-formed XML"),
    "another size": (
        "<annotation><filename>a.png</filename><size><width>9</width><height>9</height></size>"
        "</annotation>",
        "is 64 x 48",
    ),
    "no picture": ("<annotation><filename>z.png</filename></annotation>", "not there"),
    "an object without a name": (
        "<annotation><filename>a.png</filename><object/></annotation>",
        "no name",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_annotation_is_set_aside(root: Path, case: str) -> None:
    text, reason = SPOILED[case]
    (root / "Annotations" / "a.xml").write_text(text)
    found = voc.read(root)
    assert reason in found.rejected[0].reason
    assert len(found.pictures) == 2


def test_a_file_that_is_no_picture_is_set_aside(root: Path) -> None:
    (root / "JPEGImages" / "a.png").write_text("no picture")
    assert voc.read(root).reasons() == {"its picture cannot be read": 1}


def test_classes_that_differ_in_case_only_are_refused(root: Path) -> None:
    annotation(root, "b", objects((3, 4, 30, 40), name="Cell"))
    with pytest.raises(DataError, match="'Cell' and 'cell' differ in case"):
        voc.read(root)


def test_boxes_of_other_classes_than_the_given_ones_are_set_aside(root: Path) -> None:
    found = voc.read(root, classes=["cell", "never seen"])
    assert found.classes == ("cell", "never seen")
    assert found.reasons() == {"class not among the given ones": 1}


def test_an_absent_folder_and_an_absent_split_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder Annotations"):
        voc.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"train\.txt: no such list of pictures; there are: none"):
        voc.read(root, "train")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("../../etc/passwd\n")
    with pytest.raises(DataError, match="leads out"):
        voc.read(root, "train")


COCO = {
    "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 5, "iscrowd": 1}
    ],
    "categories": [{"id": 3, "name": "cell"}, {"id": 2, "name": "nucleus"}],
}


def test_coco_ids_may_have_gaps_and_areas_and_crowds_are_kept(root: Path) -> None:
    file = root / "x.json"
    file.write_text(json.dumps(COCO))
    found = coco.read(file, root / "JPEGImages")
    assert found.classes == ("nucleus", "cell")
    (one,) = found.pictures
    assert (one.boxes.tolist(), one.labels.tolist()) == ([[1, 2, 4, 6]], [1])
    assert (one.areas.tolist(), one.crowd.tolist()) == ([5.0], [True])


COCO_FAULTS = {
    "another image": {"annotations": [{"image_id": 8, "category_id": 3, "bbox": [1, 2, 3, 4]}]},
    "another category": {"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4]}]},
    "three numbers": {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]},
    "words": {"annotations": [{"image_id": 7, "category_id": 3, "bbox": ["a", 2, 3, 4]}]},
    "no mapping": {"annotations": ["x"]},
    "an image that leads out": {"images": [*COCO["images"], {"id": 8, "file_name": "../x.png"}]},
    "an image without an id": {"images": [*COCO["images"], {"file_name": "b.png"}]},
}


@pytest.mark.parametrize("case", COCO_FAULTS)
def test_a_coco_entry_that_cannot_be_used_is_set_aside(root: Path, case: str) -> None:
    file = root / "x.json"
    file.write_text(json.dumps(COCO | COCO_FAULTS[case]))
    found = coco.read(file, root / "JPEGImages")
    assert len(found.rejected) == 1
    assert len(found.pictures) == 1


def test_a_file_that_is_no_coco_json_is_refused(root: Path) -> None:
    file = root / "x.json"
    for text, message in (("[]", "needs the lists"), ("{", "damaged")):
        file.write_text(text)
        with pytest.raises(Exception, match=message):
            coco.read(file)
    file.write_text(json.dumps(COCO | {"categories": [{"id": 1, "name": "a"}] * 2}))
    with pytest.raises(DataError, match="same id or the same name"):
        coco.read(file)


@pytest.mark.parametrize(
    "line", ["2 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "cell 1 1 1 1", "-1 0 0 1 1"]
)
def test_a_yolo_line_that_cannot_be_used_is_set_aside(tmp_path: Path, line: str) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "classes.txt").write_text("cell\nnucleus\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(f"1 0.5 0.5 0.25 0.5\n{line}\n")
    found = yolo.read(tmp_path)
    assert "line 2" in found.rejected[0].place
    assert found.pictures[0].boxes.tolist() == [[24, 12, 40, 36]]


@pytest.mark.usefixtures("data_mirror")
def test_bccd_has_its_published_counts_and_its_two_boxes_without_area(
    data_mirror: Path, tmp_path: Path
) -> None:
    import tarfile

    with tarfile.open(data_mirror / "bccd.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    found = {split: voc.read(tmp_path / "BCCD", split) for split in ("train", "val", "test")}
    assert [len(one.pictures) for one in found.values()] == [205, 87, 72]
    assert sum(one.n_boxes for one in found.values()) == 4886
    assert [one.reasons() for one in found.values()] == [{"no area": 1}, {"no area": 1}, {}]
    assert {one.classes for one in found.values()} == {("Platelets", "RBC", "WBC")}
