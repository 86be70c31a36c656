"""Prepared pictures: decoded once, turned, scaled and stored, so that an epoch reads no file.

    pictures/<name>/<identity>/
        pictures.json (classes, sizes, counts, what was set aside)
        pixels.bin  shapes.npy  labels.npy (or tags.npy)  folds.npy  names.json

The identity follows from the bytes of all pictures, their labels and how they were scaled: the same
source gives the same directory, byte for byte, and is not prepared again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.config import Config, parse
from falconer.pipelines.console import progress
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.files import atomic_directory, identity_of, read_json, write_json
from falconer.vision.config import PicturesConfig
from falconer.vision.data.decode import Pixels, UnusableError, read_picture, resized, scaled
from falconer.vision.data.source import FOLDS, Fold, Picture, Rejected, Source, Task
from falconer.vision.data.split import with_folds, without_copies

FORMAT_VERSION = 1
CARD = "pictures.json"
IN_FLIGHT = 64
"""Pictures that wait to be written, at most: decoding never runs farther ahead."""
WORTH_PROCESSES = 200
LISTED = 1000
"""Rejected pictures that the card lists; all are counted."""


class PreparedCard(Config):
    """The content of `pictures.json`."""

    format_version: int
    dataset_id: str
    name: str
    task: Task
    classes: tuple[str, ...]
    short: int
    """Pixels of the shorter side."""
    channels: int
    counts: dict[str, int]
    """Pictures of each fold."""
    rejected_total: int
    rejected: tuple[tuple[str, str], ...]
    """(name, reason) of what was set aside."""


@dataclass(frozen=True)
class Prepared:
    """A directory of prepared pictures, n of them.

    labels  int64[n], or bool[n, n_tags] of the task tags        folds  uint8[n], places in `FOLDS`
    groups  what must be judged together; a picture's own name where it has no group
    """

    path: Path
    card: PreparedCard
    names: Sequence[str]
    groups: Sequence[str]
    labels: NDArray[np.int64] | NDArray[np.bool_]
    folds: NDArray[np.uint8]
    shapes: NDArray[np.int32]

    @classmethod
    def open(cls, path: Path) -> Prepared:
        """Read a directory; `ArtifactError` where it is absent or damaged."""
        values = read_json(path / CARD)
        if not isinstance(values, dict) or values.get("format_version") != FORMAT_VERSION:
            raise ArtifactError(f"{path / CARD}: of another version; prepare the pictures anew")
        card = parse(PreparedCard, values, str(path / CARD))
        lists = read_json(path / "names.json")
        try:
            labels, folds, shapes = (
                np.load(path / f"{name}.npy", allow_pickle=False)
                for name in ("labels", "folds", "shapes")
            )
            size = (path / "pixels.bin").stat().st_size
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path}: damaged ({error}); remove it and train anew") from error
        if size != int(shapes.astype(np.int64).prod(axis=1).sum()) * card.channels:
            raise ArtifactError(f"{path / 'pixels.bin'}: cut off; remove the folder and train anew")
        return cls(path, card, lists["names"], lists["groups"], labels, folds, shapes)

    def rows(self, fold: Fold) -> NDArray[np.int64]:
        """Places of the pictures of a fold."""
        return np.flatnonzero(self.folds == FOLDS.index(fold))

    def pixels(self, row: int) -> Pixels:
        """uint8[height, width, channels] of one picture; a view of the file."""
        height, width = self.shapes[row]
        start, stop = self._offsets[row : row + 2]
        return self._store[start:stop].reshape(height, width, self.card.channels)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        sizes = self.shapes.astype(np.int64).prod(axis=1) * self.card.channels
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])

    @cached_property
    def _store(self) -> NDArray[np.uint8]:
        return np.memmap(self.path / "pixels.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.names)


def prepare(source: Source, config: PicturesConfig, root: Path) -> Prepared:
    """The source's prepared pictures below `root`, made where they are not there yet.

    Raises `DataError` where no picture can be used, or a class has none to train on.
    """
    pictures, digests, rejected = _readable(source)
    kept, copies = without_copies(pictures, digests)
    rejected += copies
    digests = [digests[place] for place in kept]
    pictures = with_folds([pictures[place] for place in kept], digests)
    short = round(max(config.size, config.test_size or 0) / config.share)
    about = [source.task, source.classes, short, config.channels, FORMAT_VERSION]
    facts = [
        (one.name, digest, one.labels, one.group, one.fold)
        for one, digest in zip(pictures, digests, strict=True)
    ]
    identity = identity_of([about, facts, [(one.name, one.reason) for one in rejected]])
    target = root / source.name / identity
    if not (target / CARD).exists():
        _write(target, identity, source, pictures, rejected, short=short, channels=config.channels)
    return Prepared.open(target)


def _readable(source: Source) -> tuple[list[Picture], list[str], list[Rejected]]:
    rejected = list(source.rejected)
    pictures, digests = [], []
    for one in source.pictures:
        try:
            digests.append(one.sha256())
            pictures.append(one)
        except OSError as error:
            rejected.append(Rejected(one.name, f"cannot be read ({error.strerror})"))
    return pictures, digests, rejected


def _write(
    target: Path,
    identity: str,
    source: Source,
    pictures: Sequence[Picture],
    rejected: list[Rejected],
    *,
    short: int,
    channels: int,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(target) as partial:
        kept: list[Picture] = []
        shapes: list[tuple[int, int]] = []
        with (partial / "pixels.bin").open("wb") as stream:
            found = _all_pixels(pictures, short, channels)
            label = f"preparing {source.name}"
            shown = progress(found, label=label, total=len(pictures))
            for one, pixels in zip(pictures, shown, strict=True):
                if isinstance(pixels, str):
                    rejected.append(Rejected(one.name, pixels))
                    continue
                kept.append(one)
                shapes.append((pixels.shape[0], pixels.shape[1]))
                stream.write(pixels.tobytes())
        _refuse_gaps(source, kept, rejected)
        np.save(partial / "shapes.npy", np.array(shapes, np.int32))
        np.save(partial / "labels.npy", _labels(source, kept))
        folds = [FOLDS.index(one.fold or "train") for one in kept]
        np.save(partial / "folds.npy", np.array(folds, np.uint8))
        names = {
            "names": [one.name for one in kept],
            "groups": [one.group or one.name for one in kept],
        }
        (partial / "names.json").write_text(json.dumps(names), encoding="utf-8")
        counts = Counter(one.fold for one in kept)
        card = PreparedCard(
            format_version=FORMAT_VERSION,
            dataset_id=identity,
            name=source.name,
            task=source.task,
            classes=source.classes,
            short=short,
            channels=channels,
            counts={fold: counts[fold] for fold in FOLDS},
            rejected_total=len(rejected),
            rejected=tuple((one.name, one.reason) for one in rejected[:LISTED]),
        )
        write_json(partial / CARD, card.model_dump(mode="json"))


def _labels(source: Source, pictures: Sequence[Picture]) -> NDArray[np.int64] | NDArray[np.bool_]:
    if source.task == "classes":
        return np.array([one.labels[0] for one in pictures], np.int64)
    tags = np.zeros((len(pictures), len(source.classes)), np.bool_)
    for row, one in enumerate(pictures):
        tags[row, list(one.labels)] = True
    return tags


def _refuse_gaps(source: Source, kept: Sequence[Picture], rejected: Sequence[Rejected]) -> None:
    there = {label for one in kept if one.fold == "train" for label in one.labels}
    gone = [name for number, name in enumerate(source.classes) if number not in there]
    if not kept or gone:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in rejected[:3])
        raise DataError(
            f"{source.name}: no picture to train on of {', '.join(gone) or 'any class'}; "
            f"{len(rejected)} pictures were set aside{': ' + reasons if reasons else ''}"
        )


def _all_pixels(pictures: Sequence[Picture], short: int, channels: int) -> Iterator[Pixels | str]:
    """The scaled pixels of each picture in order, or why there are none; many files are decoded in
    processes of their own, a bounded number ahead."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2 or sum(one.path is not None for one in pictures) < WORTH_PROCESSES:
        for one in pictures:
            yield scaled_pixels(one, short, channels)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        waiting: deque[Future[Pixels | str]] = deque()
        rest = iter(pictures)
        for one in islice(rest, IN_FLIGHT):
            waiting.append(pool.submit(scaled_pixels, one, short, channels))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(
                pool.submit(scaled_pixels, one, short, channels) for one in islice(rest, 1)
            )
            yield found


def scaled_pixels(picture: Picture, short: int, channels: int) -> Pixels | str:
    """The picture with its shorter side of `short` pixels, or why it cannot be used."""
    try:
        if picture.path is not None:
            return scaled(read_picture(picture.path, channels=channels), short)
        assert picture.pixels is not None
        return scaled(_with_channels(picture.pixels, channels), short)
    except UnusableError as error:
        return str(error)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    weights = np.array([0.299, 0.587, 0.114])
    grey: Pixels = (pixels @ weights).round().astype(np.uint8)[..., None]
    return grey


def middle(pixels: Pixels, config: PicturesConfig) -> Pixels:
    """uint8[size, size, channels]: what the network sees of a picture when it is judged.

    `pixels` are of any size; the shorter side becomes `test_size` / `share`.
    """
    size = config.test_size or config.size
    short = round(size / config.share)
    height, width = pixels.shape[:2]
    edge = min(height, width) * size / short
    left, top = (width - edge) / 2, (height - edge) / 2
    if min(height, width) == short:
        left, top = int(left), int(top)
        return pixels[top : top + size, left : left + size]
    return resized(pixels, (size, size), (left, top, left + edge, top + edge))
