"""COCO's JSON: images, annotations with boxes (x, y, width, height), categories with ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import DataError
from falconer.pipelines.files import read_json, write_json
from falconer.vision.data.decode import UnusableError
from falconer.vision.detection.annotations import (
    Annotated,
    Picture,
    PictureBuilder,
    Rejected,
    annotated,
    within,
)
from falconer.vision.detection.formats.pictures import size_of

LISTS = ("images", "annotations", "categories")


def read(
    file: Path, pictures: Path | None = None, *, classes: Sequence[str] | None = None
) -> Annotated:
    """The pictures of one JSON file, which lie below `pictures` (the file's folder without one).

    Classes are numbered in the order of their category ids. Raises `DataError` where the file is
    no COCO JSON, or nothing in it can be used.
    """
    content = read_json(file)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in LISTS
    ):
        raise DataError(f"{file}: no COCO JSON; it needs the lists {', '.join(LISTS)}")
    names = _categories(file, content["categories"])
    rejected: list[Rejected] = []
    builders: dict[object, PictureBuilder] = {}
    paths: set[Path] = set()
    for number, image in enumerate(content["images"]):
        try:
            builder = _image(image, pictures or file.parent, number)
            if image["id"] in builders or builder.path in paths:
                raise UnusableError("its id or its file is another image's")
            builders[image["id"]] = builder
            paths.add(builder.path)
        except UnusableError as error:
            rejected.append(Rejected(f"{file.name}: image {number}", str(error)))
    for number, annotation in enumerate(content["annotations"]):
        try:
            _add(annotation, builders, names)
        except UnusableError as error:
            rejected.append(Rejected(f"{file.name}: annotation {number}", str(error)))
    ordered = list(names.values()) if classes is None else classes
    return annotated(builders.values(), rejected, ordered, origin=str(file))


def _categories(file: Path, categories: Sequence[Any]) -> dict[object, str]:
    try:
        names = {one["id"]: one["name"] for one in sorted(categories, key=lambda c: c["id"])}
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: each category needs a number `id` and a `name`") from error
    if not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{file}: each category needs a text as its `name`")
    if len(set(names.values())) < len(categories):
        raise DataError(f"{file}: two categories have the same id or the same name")
    return names


def _image(image: Any, root: Path, number: int) -> PictureBuilder:
    if not isinstance(image, dict) or "id" not in image or not isinstance(image["id"], str | int):
        raise UnusableError("it has no id")
    path = within(root, str(image.get("file_name", "")))
    if path is None:
        raise UnusableError("its file_name leads out of the folder of pictures")
    size = image.get("width"), image.get("height")
    declared = size if all(isinstance(side, int) for side in size) else None
    width, height = size_of(path, declared=declared)  # type: ignore[arg-type]
    return PictureBuilder(path, width, height, f"image {number}")


def _add(annotation: Any, builders: dict[object, PictureBuilder], names: dict[object, str]) -> None:
    try:
        builder, name = builders[annotation["image_id"]], names[annotation["category_id"]]
        x, y, width, height = (float(value) for value in annotation["bbox"])
        area = None if annotation.get("area") is None else float(annotation["area"])
        crowd = bool(annotation.get("iscrowd", 0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnusableError("its image, its category or its bbox is not usable") from error
    builder.add((x, y, x + width, y + height), name, area=area, crowd=crowd)


def write(data: Annotated, file: Path, pictures: Path) -> None:
    """Write one JSON file; names are relative to `pictures`. Atomic."""
    by_picture: dict[str, list[Any]] = defaultdict(list)
    annotations = by_picture["annotations"]
    for number, picture in enumerate(data.pictures):
        by_picture["images"].append(
            {
                "id": number,
                "file_name": picture.path.relative_to(pictures).as_posix(),
                "width": picture.width,
                "height": picture.height,
            }
        )
        annotations.extend(
            {"id": len(annotations) + place + 1, "image_id": number, **one}
            for place, one in enumerate(_annotations(picture))
        )
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(data.classes)]
    write_json(
        file,
        {
            "images": by_picture["images"],
            "annotations": annotations,
            "categories": categories,
        },
    )


def _annotations(picture: Picture) -> list[dict[str, Any]]:
    return [
        {
            "category_id": int(label) + 1,
            "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for box, label, area, crowd in zip(
            picture.boxes, picture.labels, picture.areas, picture.crowd, strict=True
        )
    ]
