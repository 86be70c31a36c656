"""What torchvision's SSD says of random pictures, beside ours: boxes, matching, loss, detections.

    python -m tests.oracles.detection [CASES]             compares; says the largest differences
    python -m tests.oracles.detection --record            writes what torchvision says of a few

torchvision must be importable: `scripts/oracles torchvision` fetches it, and its folder goes on
PYTHONPATH. Beside a CPU build of torch, its operators need the CPU build of torchvision.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from falconer.vision.detection.boxes import decode, encode, iou
from falconer.vision.detection.default_boxes import default_boxes
from falconer.vision.detection.loss import ssd_loss
from falconer.vision.detection.matching import BACKGROUND, match
from falconer.vision.detection.suppression import detections_of

GOLDEN = Path(__file__).resolve().parents[1] / "vision" / "golden" / "torchvision_detection.json"
RECORDED = 40
DEFAULTS = default_boxes(100, [(n, n) for n in (13, 7, 4, 2, 1, 1)])
LOWEST, MOST_A_CLASS, MOST = 0.05, 50, 30
TOLERANCE = 1e-5
"""Of each number, relative to the largest of its kind in the case; labels must be the same."""

Answer = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """Two pictures with true boxes (corners, shares of the side), and a network's answer."""

    truth: tuple[Tensor, Tensor]
    labels: tuple[Tensor, Tensor]
    offsets: Tensor
    logits: Tensor
    overlap: float


def case(number: int) -> Case:
    """One to eight boxes a picture, 1 to 20 classes."""
    rng = np.random.default_rng(number)
    n_classes = int(rng.integers(1, 21))
    truth, labels = [], []
    for _ in range(2):
        n = int(rng.integers(1, 9))
        low = rng.random((n, 2)) * 0.8
        truth.append(np.hstack([low, low + 0.02 + rng.random((n, 2)) * 0.5]))
        labels.append(rng.integers(1, n_classes + 1, n))
    logits = rng.normal(0, 2, (2, len(DEFAULTS), n_classes + 1))
    logits[..., 0] += 4
    offsets = rng.normal(0, 1, (2, len(DEFAULTS), 4))
    return Case(
        (torch.from_numpy(truth[0]).float(), torch.from_numpy(truth[1]).float()),
        (torch.from_numpy(labels[0]), torch.from_numpy(labels[1])),
        torch.from_numpy(offsets).float(),
        torch.from_numpy(logits).float(),
        float(rng.uniform(0.3, 0.7)),
    )


def ours(one: Case) -> Answer:
    """Our values of a case."""
    matched = [
        match(truth, labels, DEFAULTS) for truth, labels in zip(one.truth, one.labels, strict=True)
    ]
    boxes = torch.stack([each.boxes for each in matched])
    labels = torch.stack([each.labels for each in matched])
    own = labels[0] != BACKGROUND
    decoded = decode(one.offsets[0], DEFAULTS)
    found = detections_of(
        decoded.clamp(0, 1),
        one.logits[0].softmax(-1)[:, 1:],
        lowest=LOWEST,
        overlap=one.overlap,
        most_a_class=MOST_A_CLASS,
        most=MOST,
    )
    return {
        "overlaps": iou(one.truth[0], DEFAULTS),
        "matched": labels,
        "encoded": encode(boxes[0][own], DEFAULTS[own]),
        "decoded": decoded,
        "loss": ssd_loss(one.offsets, one.logits, boxes, labels, DEFAULTS),
        **_in_one_order(found.boxes, found.scores, found.labels + 1),
    }


def theirs(one: Case) -> Answer:
    """torchvision's."""
    from torchvision.models.detection._utils import BoxCoder, SSDMatcher
    from torchvision.models.detection.ssd import SSD
    from torchvision.ops import box_iou

    ssd: Any = SSD.__new__(SSD)
    torch.nn.Module.__init__(ssd)
    coder = ssd.box_coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    ssd.neg_to_pos_ratio, ssd.score_thresh, ssd.nms_thresh = 3, LOWEST, one.overlap
    ssd.topk_candidates, ssd.detections_per_img = MOST_A_CLASS, MOST
    places = [SSDMatcher(0.5)(box_iou(truth, DEFAULTS)) for truth in one.truth]
    labels = [
        torch.where(place >= 0, named[place.clamp(min=0)], BACKGROUND)
        for place, named in zip(places, one.labels, strict=True)
    ]
    own = places[0] >= 0
    targets = [
        {"boxes": truth, "labels": named}
        for truth, named in zip(one.truth, one.labels, strict=True)
    ]
    outputs = {"bbox_regression": one.offsets, "cls_logits": one.logits}
    losses = ssd.compute_loss(targets, outputs, [DEFAULTS] * 2, places)
    first = {name: value[:1] for name, value in outputs.items()}
    (found,) = ssd.postprocess_detections(first, [DEFAULTS], [(1, 1)])
    return {
        "overlaps": box_iou(one.truth[0], DEFAULTS),
        "matched": torch.stack(labels),
        "encoded": coder.encode_single(one.truth[0][places[0][own]], DEFAULTS[own]),
        "decoded": coder.decode_single(one.offsets[0], DEFAULTS),
        "loss": losses["bbox_regression"] + losses["classification"],
        **_in_one_order(found["boxes"], found["scores"], found["labels"]),
    }


def _in_one_order(boxes: Tensor, scores: Tensor, labels: Tensor) -> Answer:
    """The surest first; of equal scores, whose order nobody defines, the lower label."""
    order = torch.from_numpy(np.lexsort((labels.numpy(), -scores.numpy())))
    found = torch.cat([boxes, scores[:, None]], dim=1)
    return {"found": found[order], "named": labels[order]}


def difference(first: Tensor, second: Tensor) -> float:
    """The largest one, relative to the largest number; infinite for another shape or label."""
    if first.shape != second.shape or not first.dtype.is_floating_point:
        return 0.0 if torch.equal(first, second) else float("inf")
    if not first.numel():
        return 0.0
    return float((first - second).abs().max() / second.abs().max().clamp(min=1e-12))


def digest(answer: Answer) -> dict[str, list[float]]:
    """How many numbers of each kind there are, their sum, and a sum with weights that tell places
    apart."""
    return {
        name: [value.numel(), *map(float, _sums(value.detach().double().flatten()))]
        for name, value in answer.items()
    }


def _sums(values: Tensor) -> tuple[Tensor, Tensor]:
    places = torch.arange(len(values), dtype=torch.float64)
    return values.sum(), (values * (1 + 0.5 * (places * 0.7).sin())).sum()


def record() -> None:
    """Write what torchvision says of the first cases."""
    found = [digest(theirs(case(number))) for number in range(RECORDED)]
    GOLDEN.write_text(json.dumps(found, indent=None).replace("}, {", "},\n{") + "\n")


def compare(n: int) -> bool:
    """Print the largest differences in `n` cases; whether all are small."""
    worst: dict[str, float] = {}
    for number in range(n):
        one = case(number)
        mine, other = ours(one), theirs(one)
        for name in other:
            worst[name] = max(worst.get(name, 0.0), difference(mine[name], other[name]))
    for name, value in worst.items():
        print(f"{name:<10} {value:.1e}")
    return max(worst.values()) <= TOLERANCE


if __name__ == "__main__":
    if "--record" in sys.argv:
        record()
    else:
        sys.exit(not compare(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
