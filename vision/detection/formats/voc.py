"""PASCAL VOC: a folder with JPEGImages/, Annotations/*.xml and ImageSets/Main/<split>.txt.

Its corners are the numbers of the first and the last pixel, counted from 1 and both inside the box:
(1, 1, 1, 1) is the first pixel alone. So x0 = xmin - 1 and x1 = xmax here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, TreeBuilder, indent
from xml.parsers import expat

from falconer.pipelines.errors import DataError
from falconer.vision.data.decode import UnusableError
from falconer.vision.detection.annotations import (
    Annotated,
    Picture,
    PictureBuilder,
    Rejected,
    annotated,
    lines_of,
    within,
)
from falconer.vision.detection.formats.pictures import size_of

MOST_BYTES = 16 * 2**20
PICTURES, ANNOTATIONS, SETS = "JPEGImages", "Annotations", "ImageSets/Main"


def read(
    root: Path, split: str | None = None, *, classes: Sequence[str] | None = None
) -> Annotated:
    """The pictures of `split` (all annotation files without one), with what was set aside.

    Raises `DataError` where the folder or the list of the split is not there, or where nothing can
    be used.
    """
    builders, rejected = [], []
    for path in _files(root, split):
        try:
            builders.append(_read(root, path))
        except UnusableError as error:
            rejected.append(Rejected(str(path.relative_to(root)), str(error)))
    return annotated(builders, rejected, classes, origin=str(root))


def _files(root: Path, split: str | None) -> Iterator[Path]:
    folder = root / ANNOTATIONS
    if not folder.is_dir():
        raise DataError(f"{root}: no folder {ANNOTATIONS}; a VOC folder has one, with XML files")
    if split is None:
        yield from sorted(folder.glob("*.xml"))
        return
    listed = root / SETS / f"{split}.txt"
    if not listed.is_file():
        there = ", ".join(sorted(path.stem for path in listed.parent.glob("*.txt"))) or "none"
        raise DataError(f"{listed}: no such list of pictures; there are: {there}")
    for name in dict.fromkeys(_listed(line, folder) for line in lines_of(listed) if line.strip()):
        path = within(folder, f"{name}.xml")
        if path is None:
            raise DataError(f"{listed}: {name!r} leads out of the folder {ANNOTATIONS}")
        yield path


def _listed(line: str, folder: Path) -> str:
    """The name of an annotation: a whole line, as names may have blanks, or its first word, as
    VOC's lists of a class have a number behind it."""
    whole, first = line.strip(), line.split()[0]
    path = within(folder, f"{whole}.xml")
    return whole if path is not None and path.is_file() else first


def _read(root: Path, path: Path) -> PictureBuilder:
    tree = _tree(path)
    name = (tree.findtext("filename") or f"{path.stem}.jpg").strip()
    picture = within(root / PICTURES, name)
    if picture is None:
        raise UnusableError("its filename leads out of the folder of pictures")
    width, height = size_of(picture, declared=_declared(tree))
    builder = PictureBuilder(picture, width, height, f"{ANNOTATIONS}/{path.name}")
    for found in tree.iter("object"):
        box = found.find("bndbox")
        corners = [_number(box, key) for key in ("xmin", "ymin", "xmax", "ymax")]
        corners[0] -= corners[2] > corners[0]  # a side of one pixel is a slip: it keeps no area
        corners[1] -= corners[3] > corners[1]
        label = found.findtext("name")
        if label is None or not label.strip():
            raise UnusableError("an object has no name")
        difficult = (found.findtext("difficult") or "0").strip() == "1"
        builder.add((corners[0], corners[1], corners[2], corners[3]), label, difficult=difficult)
    return builder


def _declared(tree: Element) -> tuple[int, int] | None:
    width, height = (_number(tree.find("size"), key) for key in ("width", "height"))
    return (int(width), int(height)) if 0 < width < inf and 0 < height < inf else None


def _number(parent: Element | None, key: str) -> float:
    """The number in a child; NaN where there is none."""
    try:
        return float((parent.findtext(key) if parent is not None else None) or "nan")
    except ValueError:
        return float("nan")


def _tree(path: Path) -> Element:
    """The file's root element. A document type is refused: entities can grow without bound."""
    if not path.is_file():
        raise UnusableError("no such file")
    if path.stat().st_size > MOST_BYTES:
        raise UnusableError(f"larger than {MOST_BYTES // 2**20} MB")
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)  # noqa: FBT003 - expat takes no keyword
        return builder.close()
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding unknown
        raise UnusableError("no well-formed XML") from error


def _refuse_doctype(*_: object) -> None:
    raise UnusableError("it has a document type, which annotations do not need")


def write(data: Annotated, root: Path, split: str) -> None:
    """Write annotation files and the list of `split` below `root`; pictures are not copied."""
    (root / ANNOTATIONS).mkdir(parents=True, exist_ok=True)
    (root / SETS).mkdir(parents=True, exist_ok=True)
    for picture in data.pictures:
        tree = _element(picture, data.classes)
        indent(tree)
        target = root / ANNOTATIONS / f"{picture.path.stem}.xml"
        ElementTree(tree).write(target, encoding="utf-8")
    stems = "".join(f"{picture.path.stem}\n" for picture in data.pictures)
    (root / SETS / f"{split}.txt").write_text(stems, encoding="utf-8")


def _element(picture: Picture, classes: Sequence[str]) -> Element:
    tree = Element("annotation")
    SubElement(tree, "filename").text = picture.path.name
    size = SubElement(tree, "size")
    for key, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
        SubElement(size, key).text = str(value)
    for box, label, difficult in zip(picture.boxes, picture.labels, picture.difficult, strict=True):
        found = SubElement(tree, "object")
        SubElement(found, "name").text = classes[label]
        SubElement(found, "difficult").text = str(int(difficult))
        place = SubElement(found, "bndbox")
        corners = (box[0] + 1, box[1] + 1, box[2], box[3])
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            SubElement(place, key).text = repr(float(value)).removesuffix(".0")
    return tree
