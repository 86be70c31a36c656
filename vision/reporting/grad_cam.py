"""Where a network looks for an answer: Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from falconer.vision.data.decode import Pixels
from falconer.vision.networks.classifier import Classifier


def grad_cam(network: Classifier, pictures: Tensor, classes: list[int]) -> NDArray[np.float32]:
    """float32[B, h, w] in 0 to 1: how much each place of the last maps speaks for the class.

    The maps are weighted by the mean gradient of the class's logit, summed, and cut at zero. Here
    the logit is linear in the maps' means, so that the weights are the head's own, divided by the
    places.
    """
    with torch.no_grad():
        maps = network.maps(pictures)
        weights = network.head.weight[torch.tensor(classes, device=maps.device)]
        found = torch.relu((maps * weights[:, :, None, None]).sum(1)).float()
        highest = found.amax((1, 2), keepdim=True)
        return (found / highest.clamp(min=1e-12)).cpu().numpy()


def overlaid(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """The picture in grey, with red where the network looks: uint8[height, width, 3]."""
    height, width = pixels.shape[:2]
    image = Image.fromarray((heat * 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    share = (np.asarray(image, np.float32) / 255)[..., None] * 0.6
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    found: Pixels = (grey * (1 - share) + np.array([235, 60, 40]) * share).astype(np.uint8)
    return found
