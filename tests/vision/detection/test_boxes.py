"""Boxes, default boxes, matching, loss and suppression against plain loops and known values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.vision.detection.boxes import decode, encode, iou
from falconer.vision.detection.default_boxes import boxes_a_place, default_boxes
from falconer.vision.detection.loss import hardest_negatives, ssd_loss
from falconer.vision.detection.matching import match
from falconer.vision.detection.suppression import detections_of, suppressed

MAPS = [(n, n) for n in (38, 19, 10, 5, 3, 1)]


def some_boxes(n: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=random) * 0.7
    return torch.cat([low, low + 0.01 + torch.rand(n, 2, generator=random) * 0.4], dim=1)


def plain_iou(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common) if sum(areas) > common else 0.0


def test_overlaps_are_those_of_a_plain_loop_and_never_nan() -> None:
    first, second = some_boxes(20, 0), some_boxes(30, 1)
    second[3, 2:] = second[3, :2]
    first[2] = second[3]
    expected = [[plain_iou(a, b) for b in second.tolist()] for a in first.tolist()]
    assert torch.allclose(iou(first, second), torch.tensor(expected), atol=1e-6)


def test_eight_thousand_default_boxes_of_the_published_sizes() -> None:
    defaults = default_boxes(300, MAPS)
    assert defaults.shape == (8732, 4)
    sides = (defaults[:, 2:] - defaults[:, :2]) * 300
    assert sides[0].tolist() == pytest.approx([21, 21], abs=1e-3)
    assert sides[1].tolist() == pytest.approx([(21 * 45) ** 0.5] * 2, abs=1e-3)
    assert sides[2].tolist() == pytest.approx([21 * 2**0.5, 21 / 2**0.5], abs=1e-3)
    assert sides[-1].tolist() == pytest.approx([261 / 2**0.5, 261 * 2**0.5], abs=1e-3)
    centres = (defaults[:, :2] + defaults[:, 2:]) * 150
    assert centres[[0, 4, -1]].tolist() == [
        pytest.approx(at, abs=1e-3) for at in ([4, 4], [12, 4], [150, 150])
    ]
    starts = [0]
    for (height, width), n in zip(MAPS, boxes_a_place(), strict=True):
        starts.append(starts[-1] + height * width * n)
    assert starts == [0, 5776, 7942, 8542, 8692, 8728, 8732]


def test_clamped_default_boxes_are_cut_and_others_are_not() -> None:
    plain, clamped = default_boxes(300, MAPS), default_boxes(300, MAPS, clamped=True)
    assert (plain[:, 2:] - plain[:, :2]).max() > 1
    assert (clamped[:, 2:] - clamped[:, :2]).max() <= 1
    with pytest.raises(ValueError, match="6 feature maps"):
        default_boxes(300, MAPS[:5])


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_decoding_is_the_inverse_of_encoding(seed: int) -> None:
    boxes, defaults = some_boxes(50, seed), some_boxes(50, seed + 1)
    assert torch.allclose(decode(encode(boxes, defaults), defaults), boxes, atol=1e-5)


def test_boxes_without_an_area_and_wild_offsets_stay_finite() -> None:
    defaults = some_boxes(2, 0)
    assert encode(torch.zeros(2, 4), defaults).isfinite().all()
    assert decode(torch.full((2, 4), 1e4), defaults).isfinite().all()


@pytest.mark.parametrize("seed", range(20))
def test_matching_is_that_of_a_plain_loop(seed: int) -> None:
    truth, labels, defaults = some_boxes(5, seed), torch.arange(1, 6), some_boxes(400, seed + 99)
    table = [[plain_iou(a, b) for b in defaults.tolist()] for a in truth.tolist()]
    expected = []
    for number in range(len(defaults)):
        column = [row[number] for row in table]
        best = max(range(5), key=column.__getitem__)
        expected.append(best + 1 if column[best] >= 0.5 else 0)
    for number, row in enumerate(table):
        expected[max(range(len(row)), key=row.__getitem__)] = number + 1
    found = match(truth, labels, defaults)
    assert found.labels.tolist() == expected
    matched = found.labels > 0
    assert torch.equal(found.boxes[matched], truth[found.labels[matched] - 1])


def test_a_picture_without_usable_boxes_is_all_background() -> None:
    defaults = some_boxes(10, 0)
    for truth in (torch.zeros(0, 4), torch.tensor([[0.2, 0.2, 0.2, 0.6], [0.5, 0.5, 0.4, 0.9]])):
        found = match(truth, torch.ones(len(truth), dtype=torch.int64), defaults)
        assert found.labels.tolist() == [0] * 10
        assert found.boxes.isfinite().all()


def test_the_hardest_negatives_are_three_a_positive_in_each_picture() -> None:
    losses = torch.tensor([[9.0, 1, 5, 7, 3, 8], [1, 1, 1, 1, 1, 1]])
    matched = torch.tensor([[True, False, False, False, False, False], [False] * 6])
    expected = [[False, False, True, True, False, True], [False] * 6]
    assert hardest_negatives(losses, matched).tolist() == expected


def test_the_loss_by_hand() -> None:
    defaults = torch.tensor([[0.0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1]])
    logits = torch.tensor([[[0.0, 2], [1, 0], [0, 0]]])
    labels = torch.tensor([[1, 0, 0]])
    boxes = defaults[None].clone()
    offsets = torch.zeros(1, 3, 4)
    offsets[0, 0] = torch.tensor([0.5, 0, 0, 3.0])
    terms = torch.tensor([2.0, 1.0, 0.0]).exp()
    named = -(terms / (terms + 1)).log().sum()
    expected = named + 0.5 * 0.25 + (3 - 0.5)
    assert ssd_loss(offsets, logits, boxes, labels, defaults).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def test_a_batch_without_boxes_has_no_loss_and_a_finite_gradient() -> None:
    logits = torch.randn(2, 6, 4, requires_grad=True)
    offsets = torch.randn(2, 6, 4, requires_grad=True)
    defaults = some_boxes(6, 0)
    labels = torch.zeros(2, 6, dtype=torch.int64)
    loss = ssd_loss(offsets, logits, defaults.expand(2, -1, -1), labels, defaults)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def plain_suppression(boxes: list[list[float]], threshold: float) -> list[bool]:
    gone = [False] * len(boxes)
    for number, box in enumerate(boxes):
        gone[number] = any(
            not gone[better] and plain_iou(boxes[better], box) > threshold
            for better in range(number)
        )
    return gone


@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
@settings(max_examples=60, deadline=None)
def test_suppression_is_the_greedy_one(seed: int, threshold: float) -> None:
    boxes = some_boxes(25, seed).double()
    found = suppressed(iou(boxes, boxes) > threshold)
    assert found.tolist() == plain_suppression(boxes.tolist(), threshold)


@pytest.mark.parametrize(("most_a_class", "most"), [(400, 200), (30, 200), (400, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_detections_are_those_of_each_class_on_its_own(
    seed: int, most_a_class: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 16 candidates change nothing: each class is as a plain loop suppresses it."""
    monkeypatch.setattr("falconer.vision.detection.suppression.BLOCK", 16)
    boxes = some_boxes(120, seed).double()
    scores = torch.rand(120, 3, generator=torch.Generator().manual_seed(seed)).double()
    expected = []
    for label in range(3):
        own = [
            n for n in scores[:, label].argsort(descending=True).tolist() if scores[n, label] > 0.2
        ]
        own = own[:most_a_class]
        gone = plain_suppression(boxes[own].tolist(), 0.4)
        expected += [
            (scores[n, label].item(), label, boxes[n].tolist())
            for n, away in zip(own, gone, strict=True)
            if not away
        ]
    found = detections_of(
        boxes, scores, lowest=0.2, overlap=0.4, most_a_class=most_a_class, most=most
    )
    rows = zip(found.scores.tolist(), found.labels.tolist(), found.boxes.tolist(), strict=True)
    assert list(rows) == sorted(expected, reverse=True)[:most]


def test_detections_are_sorted_cut_and_free_of_what_is_not_finite() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0.4, 0.4], [0, 0, torch.nan, 1]])
    scores = torch.tensor([[0.9, 0.01], [0.8, 0.7], [0.6, 0.2], [1.0, 1.0]])
    found = detections_of(boxes, scores, lowest=0.05, overlap=0.5, most_a_class=9, most=3)
    assert found.labels.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    none = detections_of(boxes, scores * 0, lowest=0.05, overlap=0.5, most_a_class=9, most=3)
    assert len(none.boxes) == 0
