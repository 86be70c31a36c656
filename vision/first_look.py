"""The first look: a network that cannot learn eight pictures by heart will not learn eight
thousand.

Before a training, a copy of the network is fitted to eight of its pictures, unchanged and unmixed.
It takes seconds. Where that fails, what is wrong is looked for and named.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from falconer.vision.config import IMAGENET_MEAN, IMAGENET_STD, PicturesConfig, VisionConfig
from falconer.vision.data.batches import input_of, targets_of
from falconer.vision.data.prepared import Prepared, middle
from falconer.vision.networks.classifier import Classifier
from falconer.vision.task import loss_of

PICTURES = 8
STEPS = 60
RATE = 2e-3
FITTED = 0.5
"""The share of the first loss below which the pictures count as learned, with every answer
right."""
SAME_PLANE = 0.99
"""The correlation from which on a plane of the input is one of the picture."""
PLANES = ("red", "green", "blue")
FAR_MEAN, FAR_SPREAD = 3.0, (0.05, 10.0)


@dataclass(frozen=True)
class Look:
    """What the first look found; `causes` is empty where the eight pictures were learned."""

    first_loss: float
    last_loss: float
    steps: int
    causes: tuple[str, ...]


def first_look(network: Classifier, config: VisionConfig, prepared: Prepared) -> Look:
    """Fit a copy of the network to eight pictures of the fold `train`, of as many classes as can
    be; the network itself, and torch's generator, stay as they are."""
    rows = _chosen(prepared)
    device = next(network.parameters()).device
    pixels = [middle(prepared.pixels(int(row)), _at_training_size(config)) for row in rows]
    pictures = input_of(pixels, config.pictures, device)
    targets = torch.from_numpy(targets_of(prepared, rows)).to(device)
    with torch.random.fork_rng(devices=[]):
        losses, right = _fit(copy.deepcopy(network), pictures, targets, tags=_has_tags(prepared))
    learned = right and losses[-1] <= FITTED * losses[0]
    shown = torch.from_numpy(np.stack(pixels)).to(device)
    odd = [] if learned else wrong_channels(shown, pictures, config.pictures)
    causes = () if learned else _causes(network, pictures, targets, prepared, losses, odd)
    return Look(losses[0], losses[-1], len(losses), causes)


def _at_training_size(config: VisionConfig) -> PicturesConfig:
    return config.pictures.model_copy(update={"test_size": None})


def _has_tags(prepared: Prepared) -> bool:
    return prepared.card.task == "tags"


def _chosen(prepared: Prepared) -> NDArray[np.int64]:
    """Up to eight places, class after class in turn (of tags, the first ones)."""
    rows = prepared.rows("train")
    labels = prepared.labels[rows]
    if labels.ndim == 2:
        return rows[:PICTURES]
    turns = np.zeros(len(rows), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        turns[own] = np.arange(len(own))
    order = np.lexsort((labels, turns))[:PICTURES]
    return np.asarray(rows[order], np.int64)


def _fit(
    network: Classifier, pictures: Tensor, targets: Tensor, *, tags: bool
) -> tuple[list[float], bool]:
    """The loss at each step, and whether all answers are right in the end; stops once they are."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trained = [p for p in network.parameters() if p.requires_grad]
    losses: list[float] = []
    right = False
    optimizer = torch.optim.Adam(trained, RATE) if trained else None
    for _ in range(STEPS):
        logits = network(pictures)
        loss = loss_of(logits, targets, tags=tags)
        losses.append(loss.item())
        right = bool(_all_right(logits, targets, tags=tags))
        if optimizer is None or not np.isfinite(losses[-1]):
            break
        if right and losses[-1] <= FITTED * losses[0]:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses, right


def _all_right(logits: Tensor, targets: Tensor, *, tags: bool) -> Tensor:
    if tags:
        return ((logits > 0) == (targets > 0.5)).all()
    return (logits.argmax(1) == targets.argmax(1)).all()


def _causes(
    network: Classifier,
    pictures: Tensor,
    targets: Tensor,
    prepared: Prepared,
    losses: list[float],
    channels: list[str],
) -> tuple[str, ...]:
    """What may be the reason, the likeliest first; never empty."""
    found = [
        *_wrong_labels(pictures, targets),
        *channels,
        *_wrong_scale(pictures),
        *_frozen_parts(network),
    ]
    if not np.isfinite(losses).all():
        found.append(
            "the loss is not finite: look at the pictures' scale and the network's weights"
        )
    return tuple(found) or (
        f"no cause was found; the loss went from {losses[0]:.3f} to {losses[-1]:.3f} in "
        f"{len(losses)} steps on {prepared.card.name}",
    )


def _wrong_labels(pictures: Tensor, targets: Tensor) -> list[str]:
    """Pictures that look the same to the network and are of different classes."""
    flat = pictures.flatten(1)
    gaps = torch.cdist(flat, flat)
    same = (gaps <= 1e-3 * flat.shape[1] ** 0.5).fill_diagonal_(fill_value=False)
    other = torch.cdist(targets, targets) > 0
    if bool((same & other).any()):
        return ["labels: pictures that look alike to the network have different labels"]
    return []


def wrong_channels(shown: Tensor, pictures: Tensor, config: PicturesConfig) -> list[str]:
    """Input whose planes are not the picture's, in its order: `shown` uint8[B, height, width,
    channels] beside `pictures` float32[B, channels, height, width]; and ImageNet's mean and std in
    the order of programs that read blue first."""
    if (config.mean, config.std) == (IMAGENET_MEAN[::-1], IMAGENET_STD[::-1]):
        return ["channel order: pictures.mean and pictures.std are ImageNet's with blue first"]
    alike = _alike(shown.movedim(3, 0).flatten(1), pictures.movedim(1, 0).flatten(1))
    own, best = alike.diagonal(), alike.max(dim=0)
    if bool((best.values < SAME_PLANE).any()):
        return [
            "channel order: what the network sees is none of the picture's planes; rows, columns "
            "and channels may be exchanged"
        ]
    if bool((best.values > own + 1 - SAME_PLANE).any()):
        order = ", ".join(PLANES[int(place)] for place in best.indices)
        return [f"channel order: the network sees {order}, and {', '.join(PLANES)} is wanted"]
    return []


def _alike(planes: Tensor, others: Tensor) -> Tensor:
    """float64[c, d]: correlations of planes float[c, n] and others float[d, n]; of one that is the
    same everywhere, 1."""
    first, second = (one.double() - one.double().mean(1, keepdim=True) for one in (planes, others))
    sizes = first.norm(dim=1)[:, None] * second.norm(dim=1)
    found: Tensor = torch.where(sizes > 0, first @ second.T / sizes.clamp(min=1e-12), 1.0)
    return found


def _wrong_scale(pictures: Tensor) -> list[str]:
    """Input that is far from a mean of 0 and a spread of 1."""
    mean, spread = float(pictures.mean()), float(pictures.std())
    low, high = FAR_SPREAD
    if abs(mean) > FAR_MEAN or not low <= spread <= high:
        return [
            f"scale: the network's input has a mean of {mean:.3g} and a spread of {spread:.3g}, "
            "and about 0 and 1 are wanted; look at pictures.mean and pictures.std"
        ]
    return []


def _frozen_parts(network: Classifier) -> list[str]:
    """Parts whose weights may not change."""
    frozen = [
        name
        for name, part in network.parts().items()
        if not any(p.requires_grad for p in part.parameters())
    ]
    if network.head_name in frozen:
        return [f"a frozen layer: the head ({network.head_name}) does not learn"]
    return [f"frozen layers: {', '.join(frozen)} do not learn"] if frozen else []
