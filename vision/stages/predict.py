"""Answers to pictures without labels: files, folders, or everything below a folder."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from falconer.pipelines.console import progress, say
from falconer.pipelines.files import atomic_file
from falconer.vision.data.batches import input_of
from falconer.vision.data.decode import Pixels, UnusableError, read_picture
from falconer.vision.data.folder import named_files
from falconer.vision.data.prepared import middle
from falconer.vision.model import ImageClassifier, load_classifier
from falconer.vision.runs import model_directory

PICTURES_AT_ONCE = 32
LISTED = 5
"""Classes in a picture's answer, at most."""


def predict(model: Path, places: Sequence[Path], out: Path) -> Path:
    """Write `out`, a CSV file with a line for each picture: `path`, `answer`, `probability`,
    `others` and `problem`.

    `model` is a run, or a model directory on its own. Of tags, `answer` holds those above their
    threshold, with | between them. A file that is no usable picture has a line that says why.
    """
    classifier = load_classifier(model_directory(model, "classifier"))
    files = named_files(places)
    problems: Counter[str] = Counter()
    with atomic_file(out) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "answer", "probability", "others", "problem"])
        starts = range(0, len(files), PICTURES_AT_ONCE)
        blocks = [files[start : start + PICTURES_AT_ONCE] for start in starts]
        for block in progress(blocks, label="predicting", total=len(blocks)):
            for line in _answers(classifier, block):
                writer.writerow(line)
                problems[line[4]] += 1
    good = problems.pop("", 0)
    say(f"{good} pictures answered, {sum(problems.values())} set aside")
    for problem, count in problems.most_common(LISTED):
        say(f"  {count} x {problem}")
    return out


def _answers(classifier: ImageClassifier, files: Sequence[Path]) -> Iterator[list[str]]:
    """The line of each file, in order."""
    config = classifier.config.pictures
    found: list[Pixels | str] = []
    for file in files:
        try:
            found.append(middle(read_picture(file, channels=config.channels), config))
        except UnusableError as error:
            found.append(str(error))
    pixels = [one for one in found if not isinstance(one, str)]
    logits = np.zeros((0, len(classifier.card.classes)), np.float32)
    if pixels:
        logits, _ = classifier.answers(input_of(pixels, config, torch.device("cpu")))
    lines = iter([_line(classifier, row) for row in logits])
    for file, one in zip(files, found, strict=True):
        answer = ["", "", "", one] if isinstance(one, str) else [*next(lines), ""]
        yield [str(file), *answer]


def _line(classifier: ImageClassifier, logits: NDArray[np.float32]) -> list[str]:
    card, probabilities = classifier.card, classifier.probabilities(logits[None])[0]
    if card.task == "tags":
        order = np.argsort(-probabilities, kind="stable")
        limits = card.thresholds or (0.5,) * len(card.classes)
        given = [place for place in order if probabilities[place] >= limits[place]]
        answer = "|".join(card.classes[place] for place in given)
        best = float(probabilities[given[0]]) if given else 0.0
    else:
        order = np.argsort(-probabilities, kind="stable")
        answer, best = card.classes[order[0]], float(probabilities[order[0]])
    others = "|".join(
        f"{card.classes[place]}={probabilities[place]:.4f}" for place in order[1:LISTED]
    )
    return [answer, f"{best:.4f}", others]
