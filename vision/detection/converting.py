"""Annotated pictures from one form into another, without loss of boxes or classes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.files import atomic_directory
from falconer.vision.detection.annotations import Annotated
from falconer.vision.detection.data import DetectionData, open_data
from falconer.vision.detection.formats import coco, voc, yolo

FORMS = ("voc", "coco", "yolo")


def convert(source: str, out: Path, form: str, *, kept: Path = Path("data")) -> Path:
    """Write `source` in another form to the new folder `out`; returns it.

    Each picture becomes a link to where it is. COCO's areas and crowds, and VOC's `difficult`, are
    kept where the form has a place for them. Raises `ConfigError` for an unknown form, for a
    folder that exists, and for two pictures of the same name.
    """
    if form not in FORMS:
        raise ConfigError(f"no form {form!r}; there are {', '.join(FORMS)}")
    if out.exists():
        raise ConfigError(f"{out}: exists already; name a new folder")
    data = open_data(source, kept)
    _refuse_same_names(data)
    with atomic_directory(out) as partial:
        for split, part in data.parts.items():
            _write(part, partial, form, split)
    return out


def _refuse_same_names(data: DetectionData) -> None:
    seen: dict[str, Path] = {}
    for part in data.parts.values():
        for picture in part.pictures:
            other = seen.setdefault(picture.path.stem, picture.path)
            if other != picture.path:
                raise ConfigError(f"{other} and {picture.path} have the same name; rename one")


def _write(part: Annotated, root: Path, form: str, split: str) -> None:
    if form == "voc":
        _link(part, root / voc.PICTURES)
        voc.write(part, root, split)
    elif form == "coco":
        linked = _link(part, root / "images")
        coco.write(linked, root / "annotations" / f"{split}.json", root / "images")
    else:
        linked = _link(part, root / yolo.PICTURES / split)
        yolo.write(linked, root, root / yolo.PICTURES / split, split)


def _link(part: Annotated, folder: Path) -> Annotated:
    """The same pictures as links below `folder`; copies, where it is on another disk."""
    folder.mkdir(parents=True, exist_ok=True)
    moved = []
    for picture in part.pictures:
        target = folder / picture.path.name
        try:
            os.link(picture.path.resolve(), target)
        except OSError:
            shutil.copyfile(picture.path, target)
        moved.append(replace(picture, path=target))
    return Annotated(part.classes, tuple(moved), part.rejected)
