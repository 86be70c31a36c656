"""Annotations that someone wrote in haste, or in malice: each is set aside with its reason, or ends
with an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from falconer.pipelines.errors import ConfigError, DataError
from falconer.vision.detection import converting
from falconer.vision.detection.annotations import Annotated
from falconer.vision.detection.formats import coco, voc, yolo

BOX = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
    "annotations": [BOX],
    "categories": [{"id": 3, "name": "cell"}],
}


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(folder / name)
    return folder


def read_coco(root: Path, **changed: Any) -> Annotated:
    (root / "train.json").write_text(json.dumps(COCO | changed))
    return coco.read(root / "train.json", pictures(root / "images"))


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([1, 2, 10**400, 4], "its bbox is not usable"),
        ([1, 2, float("inf"), 4], "no number"),
        ([float("nan"), 2, 3, 4], "no number"),
        ([20, 20, -3, 4], "corners swapped"),
        ([20, 20, 0, 4], "no area"),
        ([200, 20, 10, 4], "outside the picture"),
    ],
    ids=["huge", "infinite", "NaN", "swapped", "no area", "outside"],
)
def test_a_coco_box_that_cannot_be_used(tmp_path: Path, box: list[float], reason: str) -> None:
    found = read_coco(tmp_path, annotations=[BOX, BOX | {"bbox": box}])
    (rejected,) = found.rejected
    assert reason in rejected.reason
    assert found.n_boxes == 1


@pytest.mark.parametrize(
    "image",
    [
        {"id": 9, "file_name": "a\0.png"},
        {"id": 9, "file_name": "a" * 5000},
        {"id": 9, "file_name": "/etc/passwd"},
        {"id": 9, "file_name": "../images/a.png"},
        {"id": 9, "file_name": "."},
        {"id": 7, "file_name": "c.png"},
        {"id": 9, "file_name": "a.png"},
        None,
    ],
    ids=["zero byte", "long", "absolute", "..", "folder", "same id", "same file", "null"],
)
def test_a_coco_image_that_cannot_be_used(tmp_path: Path, image: Any) -> None:
    found = read_coco(tmp_path, images=[*COCO["images"], image])
    assert len(found.rejected) == 1
    assert [one.path.name for one in found.pictures] == ["a.png", "b.png"]


@pytest.mark.parametrize("second", ["tuesday/a.png", "tuesday/a.jpg"])
def test_pictures_of_one_name_are_not_converted(tmp_path: Path, second: str) -> None:
    """Their annotations would have one name too."""
    images = tmp_path / "images"
    for name in ("monday/a.png", second):
        (images / name).parent.mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(images / name)
    (tmp_path / "annotations").mkdir()
    entries = [{"id": 0, "file_name": "monday/a.png"}, {"id": 1, "file_name": second}]
    text = json.dumps(COCO | {"images": entries, "annotations": []})
    (tmp_path / "annotations" / "train.json").write_text(text)
    with pytest.raises(ConfigError, match="have the same name"):
        converting.convert(str(tmp_path), tmp_path / "voc", "voc", kept=tmp_path)


@pytest.mark.parametrize("area", [-5, float("nan"), float("inf")], ids=str)
def test_an_area_that_is_none_is_the_boxs_own(tmp_path: Path, area: float) -> None:
    found = read_coco(tmp_path, annotations=[BOX | {"area": area}])
    assert found.pictures[0].areas.tolist() == [12.0]


@pytest.mark.parametrize("name", ["", " ", "a\tb", "\ud800", None, 5], ids=ascii)
def test_a_class_without_a_name_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(DataError, match=r"which cannot be printed|a text as its `name`"):
        read_coco(tmp_path, categories=[{"id": 3, "name": name}])


def read_yolo(root: Path, classes: bytes, label: bytes = b"1 0.5 0.5 0.5 0.5\n") -> Annotated:
    pictures(root / "images")
    (root / "labels").mkdir()
    (root / "classes.txt").write_bytes(classes)
    (root / "labels" / "a.txt").write_bytes(label)
    return yolo.read(root)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (b"cell\n\nnucleus\n", "line 2 is blank"),
        (b"", "line 1 is blank"),
        ("zell\xe9\n".encode("latin-1"), r"classes\.txt: no UTF-8 \(byte 4\)"),
        (b"a\na\n", "two classes are named 'a'"),
        (b"a\nA\n", "differ in case"),
    ],
    ids=["blank inside", "empty", "latin-1", "twice", "case"],
)
def test_a_yolo_list_of_classes_that_would_mislead(
    tmp_path: Path, classes: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_yolo(tmp_path, classes)


def test_a_mark_of_byte_order_is_no_part_of_a_class(tmp_path: Path) -> None:
    assert read_yolo(tmp_path, b"\xef\xbb\xbfcell\nnucleus\n\n").classes == ("cell", "nucleus")


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_yolo_link_out_of_the_folder_is_not_followed(tmp_path: Path, kind: str) -> None:
    pictures(tmp_path / "outside")
    (tmp_path / "outside" / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    root = tmp_path / "own"
    read_yolo(root, b"cell\nnucleus\n")
    name = "b.png" if kind == "images" else "b.txt"
    (root / kind / name).unlink(missing_ok=True)
    (root / kind / name).symlink_to(tmp_path / "outside" / name)
    found = yolo.read(root)
    assert found.reasons() == {"the picture or its text file leads out of the folder": 1}
    assert [one.path.name for one in found.pictures] == ["a.png"]


OBJECT = (
    "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    "</bndbox></object>"
)


def read_voc(root: Path, first: bytes, listed: bytes | None = None) -> Annotated:
    pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_bytes(first)
    second = f"<annotation><filename>b.png</filename>{OBJECT.format('cell')}</annotation>"
    for name in ("b", "b 2"):
        (root / "Annotations" / f"{name}.xml").write_text(second)
    if listed is None:
        return voc.read(root)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(listed)
    return voc.read(root, "train")


def annotation(inside: str) -> bytes:
    return f"<annotation><filename>a.png</filename>{inside}</annotation>".encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'<?xml version="1.0" encoding="klingon"?>' + annotation(""), "no well-formed XML"),
        (annotation(OBJECT.format("  ")), "an object has no name"),
        (annotation("") + b"\0", "no well-formed XML"),
        (b"<annotation>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</annotation>", "not there"),
    ],
    ids=["encoding", "blank name", "zero byte", "deep"],
)
def test_a_voc_file_that_cannot_be_used(tmp_path: Path, text: bytes, reason: str) -> None:
    (rejected,) = read_voc(tmp_path, text).rejected
    assert "a.xml" in rejected.place
    assert reason in rejected.reason


def test_a_size_that_is_none_is_the_pictures_own(tmp_path: Path) -> None:
    size = "<size><width>1e300</width><height>inf</height></size>"
    assert read_voc(tmp_path, annotation(size)).rejected == ()


def test_a_list_may_name_twice_and_with_blanks(tmp_path: Path) -> None:
    found = read_voc(tmp_path, annotation(""), b"a 1\nb 2\na -1\n\n")
    assert len(found.pictures) == 2
    assert found.n_boxes == 1


@pytest.mark.parametrize("listed", [b"a\n\xe9\n", b"a\n\0\n", b"a\n/etc/passwd\n"], ids=str)
def test_a_list_that_is_none_is_named(tmp_path: Path, listed: bytes) -> None:
    with pytest.raises(DataError, match=r"train\.txt: (no UTF-8|.* leads out of the folder)"):
        read_voc(tmp_path, annotation(""), listed)
