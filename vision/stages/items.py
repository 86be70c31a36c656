"""Tags and embeddings of pictured items, as the `items` table that the recommender's ETL reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from falconer.pipelines.console import progress, say
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.files import atomic_file
from falconer.vision.data.batches import input_of
from falconer.vision.data.decode import ENDINGS, Pixels, UnusableError, read_picture
from falconer.vision.data.folder import picture_files
from falconer.vision.data.prepared import middle
from falconer.vision.model import ImageClassifier, load_classifier
from falconer.vision.runs import model_directory

PICTURES_AT_ONCE = 32
Float64 = NDArray[np.float64]


def items(model: Path, folder: Path, out: Path, *, dimensions: int = 16) -> Path:
    """Write `out`, a parquet table with one row for each item below `folder`.

    An item is a folder of pictures (the frames of a film, the views of a product; their answers are
    averaged), or a single picture. Columns: `item` (its name without an ending), `answer` (the most
    probable class or tag), `tags` (those above their thresholds, with | between them), `p_<name>`
    (the probability of each), and `embedding_0`, ...: the first `dimensions` principal components
    of the network's features over these items. Raises `DataError` where no item has a usable
    picture.
    """
    classifier = load_classifier(model_directory(model, "classifier"))
    groups = dict(_groups(folder))
    names: list[str] = []
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    for name, files in progress(groups.items(), label="describing items", total=len(groups)):
        found = _described(classifier, files)
        if found is not None:
            names.append(name)
            logits.append(found[0])
            features.append(found[1])
    if not names:
        raise DataError(f"{folder}: there is no item with a usable picture")
    if len(names) < len(groups):
        say(f"{len(groups) - len(names)} of {len(groups)} items have no usable picture")
    columns = _columns(classifier, names, np.stack(logits), np.stack(features), dimensions)
    with atomic_file(out) as partial:
        pq.write_table(pa.table(dict(columns)), partial)
    say(f"{len(names)} items, {len(columns)} columns")
    return out


def _groups(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """(item, its pictures), in the order of their names."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of items")
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield path.name, list(picture_files(path))
        elif path.suffix.lower() in ENDINGS:
            yield path.stem, [path]


def _described(
    classifier: ImageClassifier, files: Sequence[Path]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The mean logits and features of an item's usable pictures; None where there are none."""
    config = classifier.config.pictures
    pixels: list[Pixels] = []
    sums: list[tuple[Float64, Float64]] = []
    count = 0
    for place, file in enumerate(files, start=1):
        try:
            pixels.append(middle(read_picture(file, channels=config.channels), config))
        except UnusableError as error:
            say(f"set aside {file}: {error}")
        if pixels and (len(pixels) == PICTURES_AT_ONCE or place == len(files)):
            found = classifier.answers(input_of(pixels, config, torch.device("cpu")))
            sums.append((found[0].sum(0, dtype=np.float64), found[1].sum(0, dtype=np.float64)))
            count, pixels = count + len(pixels), []
    if not count:
        return None
    logits, features = (np.sum(parts, axis=0) / count for parts in zip(*sums, strict=True))
    return logits.astype(np.float32), features.astype(np.float32)


def _columns(
    classifier: ImageClassifier,
    names: Sequence[str],
    logits: NDArray[np.float32],
    features: NDArray[np.float32],
    dimensions: int,
) -> Mapping[str, object]:
    card, probabilities = classifier.card, classifier.probabilities(logits)
    if card.task == "tags":
        limits = np.array(card.thresholds or (0.5,) * len(card.classes))
        given = probabilities >= limits
    else:
        given = probabilities >= probabilities.max(axis=1, keepdims=True)
    known = np.array(card.classes, object)
    columns: dict[str, object] = {
        "item": pa.array(list(names), pa.string()),
        "answer": pa.array(known[probabilities.argmax(axis=1)].tolist(), pa.string()),
        "tags": pa.array(["|".join(known[row]) for row in given], pa.string()),
    }
    for name, values in zip(column_names(card.classes), probabilities.T, strict=True):
        columns[name] = values
    for place, component in enumerate(principal_components(features, dimensions).T):
        columns[f"embedding_{place}"] = component
    return columns


def column_names(classes: Sequence[str]) -> list[str]:
    """`p_<name>` of each class, with what a column's name cannot hold as an underscore;
    `ConfigError` where two classes then have one name."""
    found = ["p_" + re.sub(r"\W+", "_", name).strip("_") for name in classes]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise ConfigError(f"several classes would have the column {twice[0]}; rename one of them")
    return found


def principal_components(features: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """float32[n, min(dimensions, n, F)]: centred features in the directions in which they differ
    most.

    Of each direction the sign is the one that makes its largest weight positive.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:dimensions]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    found: NDArray[np.float32] = (centred @ (directions * signs[:, None]).T).astype(np.float32)
    return found
