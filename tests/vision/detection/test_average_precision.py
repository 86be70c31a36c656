"""Average precision equals pycocotools' on random pictures, and intervals need no new matching."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from falconer.vision.detection.judging.average_precision import (
    AveragePrecision,
    Found,
    Truth,
)

NAMES = ("map", "map@.5", "map@.75", "map small", "map medium", "map large")
RECALLS = ("recall@1", "recall@10", "recall@100")


def boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    low = rng.uniform(0, 200, (n, 2))
    return np.concatenate([low, low + rng.choice([8, 30, 60, 150], (n, 2)) * rng.random((n, 2))], 1)


def drawn(seed: int) -> tuple[list[Truth], list[Found]]:
    """Pictures with crowds, equal scores, shifted copies of true boxes and strangers; some
    empty."""
    rng = np.random.default_rng(seed)
    truths, founds = [], []
    for _ in range(rng.integers(1, 8)):
        n = int(rng.integers(0, 9))
        true = boxes(rng, n)
        areas = (true[:, 2:] - true[:, :2]).prod(1) * rng.choice([1.0, 0.7], n)
        truths.append(Truth(true, rng.integers(0, 3, n), areas, rng.random(n) < 0.2))
        copies = true + rng.normal(0, 3, true.shape) * (rng.random((n, 1)) < 0.7)
        strange = boxes(rng, int(rng.integers(0, 6)))
        places = np.concatenate([copies, copies[: n // 2], strange])
        places[:, 2:] = np.maximum(places[:, 2:], places[:, :2])
        labels = np.concatenate([truths[-1].labels, truths[-1].labels[: n // 2],
                                 rng.integers(0, 3, len(strange))])  # fmt: skip
        scores = rng.choice(np.round(rng.random(6), 2), len(places))
        founds.append(Found(places, labels, scores))
    return truths, founds


def as_coco(truths: list[Truth], founds: list[Found]) -> COCOeval:
    def xywh(box: np.ndarray) -> list[float]:
        return [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]

    truth = COCO()
    annotations = [
        {"id": 0, "image_id": picture, "category_id": int(one.labels[n]), "bbox": xywh(box),
         "area": float(one.areas[n]), "iscrowd": int(one.crowd[n])}
        for picture, one in enumerate(truths)
        for n, box in enumerate(one.boxes)
    ]  # fmt: skip
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    truth.dataset = {
        "images": [{"id": number} for number in range(len(truths))],
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in range(3)],
    }
    truth.createIndex()
    results = [
        {"image_id": picture, "category_id": int(one.labels[n]), "bbox": xywh(box),
         "score": float(one.scores[n])}
        for picture, one in enumerate(founds)
        for n, box in enumerate(one.boxes)
    ]  # fmt: skip
    judged = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
    if not results:
        judged.cocoDt.dataset = truth.dataset | {"annotations": []}
        judged.cocoDt.createIndex()
    judged.params.imgIds = list(range(len(truths)))
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return judged


@pytest.mark.parametrize("block", range(10))
def test_two_hundred_random_sets_have_pycocotools_values(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        truths, founds = drawn(seed)
        ours = AveragePrecision(truths, founds, ("a", "b", "c")).metrics()
        with contextlib.redirect_stdout(io.StringIO()):
            stats = as_coco(truths, founds).stats
        expected = [np.nan if value == -1 else value for value in stats[:9]]
        found = [ours[name] for name in (*NAMES, *RECALLS)]
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=f"seed {seed}")


def test_a_picture_that_counts_twice_is_a_picture_that_stands_twice() -> None:
    truths, founds = drawn(3)
    weights = np.arange(len(truths)) % 3 * 1.0
    weighted = AveragePrecision(truths, founds, ("a", "b", "c")).metrics(weights)
    repeated = [n for n, weight in enumerate(weights) for _ in range(int(weight))]
    written = AveragePrecision(
        [truths[n] for n in repeated], [founds[n] for n in repeated], ("a", "b", "c")
    ).metrics()
    # ties between pictures may be ordered otherwise, so curves agree closely and not to the bit
    assert weighted == pytest.approx(written, abs=0.05, nan_ok=True)


def test_perfect_detections_have_one_and_none_have_zero() -> None:
    rng = np.random.default_rng(0)
    true = boxes(rng, 4)
    truth = Truth(true, np.zeros(4, np.int64), np.full(4, 500.0), np.zeros(4, np.bool_))
    perfect = Found(true, np.zeros(4, np.int64), np.ones(4))
    nothing = Found(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    assert AveragePrecision([truth], [perfect], ("a",)).metrics()["map"] == pytest.approx(1)
    assert AveragePrecision([truth], [nothing], ("a",)).metrics()["map"] == 0
    assert np.isnan(AveragePrecision([truth], [perfect], ("a", "b")).metrics()["ap@.5 b"])
