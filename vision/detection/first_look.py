"""Why an average precision would be 0: what is odd about boxes, and whether eight pictures can be
learnt by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from falconer.vision.detection.annotations import Annotated
from falconer.vision.detection.boxes import iou
from falconer.vision.detection.config import SsdConfig
from falconer.vision.detection.data import DetectionData
from falconer.vision.detection.network import Ssd
from falconer.vision.detection.task import SsdTask, judge

PICTURES, STEPS, BATCH = 8, 150, 4
LEARNING_RATE = 1e-3
LEARNT = 0.8
"""map@.5 on the eight pictures that counts as learnt by heart."""
MANY = 0.1
"""Share of boxes from which on an oddity is no accident."""
POOR_FIT = 0.3
"""Overlap with the best default box below which a true box can hardly be learnt."""


def oddities(data: DetectionData, network: Ssd) -> list[str]:
    """What is wrong, or looks so, before anything is trained; each with what to do."""
    part = data.part("train")
    return [*_set_aside(part), *_scale(part), *_order(part), *_classes(data), *_fit(part, network)]


def _set_aside(part: Annotated) -> Iterator[str]:
    seen = part.n_boxes + len(part.rejected)
    for reason, n in part.reasons().items():
        if n <= MANY * seen:
            continue
        if reason == "corners swapped":
            yield (
                f"{n} of {seen} boxes have swapped corners: are they (x, y, width, height), and "
                "the form wants (x0, y0, x1, y1)?"
            )
        elif reason == "outside the picture":
            yield f"{n} of {seen} boxes are outside their pictures: are they of another size?"
        else:
            yield f"{n} of {seen} boxes were set aside: {reason}"


def _scale(part: Annotated) -> Iterator[str]:
    largest = max((float(one.boxes.max()) for one in part.pictures if len(one)), default=0.0)
    if 0 < largest <= 2:
        yield (
            f"no box reaches beyond pixel {largest:g}: are coordinates shares of the picture's "
            "sides? VOC and COCO want pixels"
        )


def _order(part: Annotated) -> Iterator[str]:
    """Corners that were read as a place and a size reach over the rim, where they are cut off."""
    cut, total = 0, 0
    for one in part.pictures:
        over = (one.boxes[:, 2] >= one.width) & (one.boxes[:, 3] >= one.height)
        cut, total = cut + int(over.sum()), total + len(one)
    if total and cut > 3 * MANY * total:
        yield (
            f"{cut} of {total} boxes reach to the right and the lower rim: are they corners (x0, "
            "y0, x1, y1), and the form wants (x, y, width, height)?"
        )


def _classes(data: DetectionData) -> Iterator[str]:
    trained = _counts(data.part("train"))
    for split, part in data.parts.items():
        counts = _counts(part)
        for label, name in enumerate(data.classes):
            if counts[label] and not trained[label]:
                yield (
                    f"class {name!r} has {counts[label]} boxes in {split} and none in train: is "
                    "its name written otherwise there?"
                )


def _counts(part: Annotated) -> Any:
    labels = [one.labels for one in part.pictures] or [np.zeros(0, np.int64)]
    return np.bincount(np.concatenate(labels), minlength=len(part.classes))


def _fit(part: Annotated, network: Ssd) -> Iterator[str]:
    shares = [
        one.boxes / np.array([one.width, one.height] * 2) for one in part.pictures if len(one)
    ]
    if not shares:
        yield "no picture has a box"
        return
    boxes = torch.from_numpy(np.concatenate(shares)).float()
    best = torch.cat([iou(some, network.defaults).amax(dim=1) for some in torch.split(boxes, 256)])
    poor = int((best < POOR_FIT).sum())
    if poor > MANY * len(best):
        median = np.median((boxes[:, 2:] - boxes[:, :2]).prod(-1).sqrt().numpy())
        yield (
            f"{poor} of {len(best)} boxes overlap every default box by less than {POOR_FIT}: at "
            f"the median a box is {100 * median:.1f} % of the picture's side; for small things "
            "raise model.size, or cut pictures into tiles"
        )


def learns_by_heart(network: Ssd, config: SsdConfig, part: Annotated) -> float:
    """map@.5 on `PICTURES` pictures after `STEPS` steps on nothing else, without augmentation.

    Far below 1 means that boxes and pictures do not belong together, or that the trunk is frozen or
    its weights are of another network.
    """
    few = Annotated(part.classes, tuple(one for one in part.pictures if len(one))[:PICTURES])
    training = config.training.model_copy(
        update={"batch_size": min(BATCH, len(few.pictures)), "device": "cpu"}
    )
    plain = config.model_copy(update={"training": training})
    task = SsdTask(network, plain, few, few, plain=True)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    network.train()
    for batch in islice(_for_ever(task), STEPS):
        optimizer.zero_grad()
        task.loss(batch).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
    network.eval()
    return judge(network, plain, few).metrics()["map@.5"]


def _for_ever(task: SsdTask) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from task.batches.epoch(epoch)
        epoch += 1


def verdict(found: Sequence[str], by_heart: float | None) -> str:
    """One sentence: what to do first."""
    if found:
        return "mend the annotations first: " + found[0]
    if by_heart is None:
        return "nothing odd about the annotations"
    if by_heart >= LEARNT:
        return (
            f"eight pictures are learnt by heart (map@.5 {by_heart:.2f}): boxes and pictures agree"
        )
    return (
        f"eight pictures are not learnt by heart (map@.5 {by_heart:.2f} of {LEARNT} wanted), "
        "though their boxes look right: look at the pictures with their boxes drawn (`falconer "
        "vision detector evaluate RUN --split train`), at model.frozen_stages, and at the weights"
    )
