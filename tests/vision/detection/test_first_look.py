"""Each cause of an average precision of 0 is named when it is planted, and good data is not
blamed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from falconer.vision.detection import first_look
from falconer.vision.detection.data import DetectionData, open_data
from tests.vision.detection.test_task import CONFIG, small_network, squares

BOXES = [[8, 10, 60, 50], [70, 20, 150, 110], [20, 60, 70, 112]]


def coco(
    root: Path, boxes: list[list[float]], *, size: tuple[int, int] = (160, 120)
) -> DetectionData:
    """Four pictures with the same boxes, written as they are into COCO's `bbox`."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(4):
        Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(
            root / "images" / f"{number}.png"
        )
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(4)],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": box} for n in range(4) for box in boxes
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (root / "annotations" / "train.json").write_text(json.dumps(content))
    return open_data(str(root), root)


def as_sizes(boxes: list[list[float]]) -> list[list[float]]:
    return [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes]


PLANTED = {
    "corners as sizes": (BOXES, "wants \\(x, y, width, height\\)"),
    "shares of the sides": (
        [[value / 160 for value in box] for box in as_sizes(BOXES)],
        "are coordinates shares",
    ),
    "of a larger picture": (
        [[value * 4 for value in box] for box in as_sizes(BOXES[1:])],
        "of another size",
    ),
    "far too small": ([[10, 10, 2, 2], [50, 50, 1, 2]], "raise model.size"),
}


@pytest.mark.parametrize("cause", PLANTED)
def test_a_planted_cause_is_named(tmp_path: Path, cause: str) -> None:
    boxes, message = PLANTED[cause]
    data = coco(tmp_path / "data", boxes)
    found = first_look.oddities(data, small_network(1, 160))
    assert any(re.search(message, one) for one in found), found


def test_right_boxes_are_not_blamed(tmp_path: Path) -> None:
    assert (
        first_look.oddities(coco(tmp_path / "data", as_sizes(BOXES)), small_network(1, 160)) == []
    )


def test_a_class_that_is_written_otherwise_in_another_split_is_named(tmp_path: Path) -> None:
    data = squares(tmp_path, 4)
    one = data.pictures[0]
    bare = one.__class__(**{**one.__dict__, "boxes": one.boxes[:1], "labels": one.labels[:1],
                            "areas": one.areas[:1], "crowd": one.crowd[:1],
                            "difficult": one.difficult[:1]})  # fmt: skip
    train = data.__class__(data.classes, (bare,))
    split = DetectionData("x", tmp_path, {"train": train, "val": data})
    (found,) = first_look._classes(split)
    assert "'blue' has 4 boxes in val and none in train" in found


@pytest.mark.parametrize(("found", "by_heart", "message"), [
    (["boxes are odd"], None, "mend the annotations first: boxes are odd"),
    ([], 0.95, "learnt by heart"),
    ([], 0.1, "not learnt by heart"),
])  # fmt: skip
def test_the_verdict_says_what_to_do_first(
    found: list[str], by_heart: float | None, message: str
) -> None:
    assert message in first_look.verdict(found, by_heart)


def test_pictures_are_learnt_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "STEPS", 60)
    value = first_look.learns_by_heart(small_network(2, 160), CONFIG, squares(tmp_path, 4))
    assert value > 0.5
