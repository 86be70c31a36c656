"""Pictures a second of SSD300's training step and detections on random pictures, on ResNet-50.

On a GPU: bf16, channels_last, compiled, 128 pictures at once, beside NVIDIA's published figure for
one A100 (724 pictures/s in training with mixed precision; its data pipeline is in that figure and
none is in ours). Then the milliseconds that one picture at a time takes: percentiles of calls
that wait for the answer. In small, on a CPU: few pictures of 160 x 160 in fp32 on ResNet-18, to
show that it works. Both compare the loss, the gradient and the logits with the CPU's in fp32.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from falconer.vision.config import NetworkConfig
from falconer.vision.detection.batches import DetectionBatch
from falconer.vision.detection.config import SsdConfig
from falconer.vision.detection.detector import Detector
from falconer.vision.detection.loss import ssd_loss
from falconer.vision.detection.matching import match
from falconer.vision.detection.network import Ssd
from falconer.vision.detection.saved import new_network
from tests.benchmarks.gpu_vision import rate
from tests.gpu_check.figures import Figure, Figures, Place

A100 = "A100: 724 pictures/s"
N_CLASSES, BOXES = 80, 7
SECONDS, TOLERANCE = 5.0, 1e-3
PERCENTILES = (50, 90, 99)


def network_of(*, small: bool) -> tuple[Ssd, SsdConfig]:
    """On ResNet-50, or on ResNet-18 for small pictures; the same weights each time."""
    name, size = ("resnet18", 160) if small else ("resnet50", 300)
    config = SsdConfig(network=NetworkConfig(name=name), size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return new_network(config, N_CLASSES), config


def batch_of(n: int, size: int, device: torch.device) -> DetectionBatch:
    """Random pictures with boxes of random places and sizes."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(n, 3, size, size, generator=generator)
    low = 0.8 * torch.rand(n, BOXES, 2, generator=generator)
    high = low + 0.05 + 0.15 * torch.rand(n, BOXES, 2, generator=generator)
    labels = torch.randint(1, N_CLASSES + 1, (n, BOXES), generator=generator)
    return DetectionBatch(
        pictures.to(device).contiguous(memory_format=torch.channels_last),
        tuple(torch.cat([low, high], dim=-1).to(device)),
        tuple(labels.to(device)),
    )


def loss_of(network: Ssd, batch: DetectionBatch, answers: tuple[Tensor, Tensor]) -> Tensor:
    """The loss of offsets and logits."""
    matched = [
        match(boxes, labels, network.defaults)
        for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
    ]
    boxes = torch.stack([one.boxes for one in matched])
    labels = torch.stack([one.labels for one in matched])
    return ssd_loss(*answers, boxes, labels, network.defaults)


def differences(place: Place) -> Figures:
    """Loss, gradient and logits beside the CPU's, in fp32."""
    network, config = network_of(small=place.small)
    other = copy.deepcopy(network).to(place.device)
    found: list[tuple[float, Tensor, Tensor]] = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for one, device in ((network, "cpu"), (other, place.device)):
            batch = batch_of(2, config.size, torch.device(device))
            answers = one.eval()(batch.pictures)
            loss = loss_of(one, batch, answers)
            loss.backward()
            gradient = torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None])
            found.append((float(loss.detach()), gradient.cpu(), answers[1].detach().cpu()))
    (loss, gradient, logits), (loss_there, gradient_there, logits_there) = found
    yield Figure("loss", abs(loss - loss_there) / loss, "of it", TOLERANCE)
    apart = float((gradient - gradient_there).norm() / gradient.norm())
    yield Figure("gradient", apart, "of it", TOLERANCE)
    apart = float((logits - logits_there).norm() / logits.norm())
    yield Figure("logits", apart, "of them", TOLERANCE)


def figures(place: Place) -> Figures:
    """For the check of a GPU."""
    yield from differences(place)
    small, device = place.device == "cpu", torch.device(place.device)
    seconds = 0.2 if small else SECONDS
    network, config = network_of(small=small)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = batch_of(2 if small else 128, config.size, device)
    optimizer = torch.optim.SGD(network.parameters(), lr=2.6e-3, momentum=0.9, weight_decay=5e-4)
    forward = network if small else torch.compile(network)

    def answers() -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=not small):
            found: tuple[Tensor, Tensor] = forward(batch.pictures)
            return found

    def train() -> None:
        loss = loss_of(network, batch, answers())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    network.train()
    yield Figure("training", rate(train, len(batch), device, seconds), "pictures/s", beside=A100)
    network.eval()
    with torch.inference_mode():
        answered = rate(answers, len(batch), device, seconds)
    yield Figure("answering, without suppression", answered, "pictures/s")
    yield from latencies(network, config, calls=3 if small else 300)


def latencies(network: Ssd, config: SsdConfig, *, calls: int) -> Figures:
    """Of one picture at a time, in fp32 as `falconer vision detect` answers: the network alone, and
    the whole way from the decoded picture of 500 x 375 to the boxes that are kept."""
    pixels = np.random.default_rng(2).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    detector, device = Detector(network, config), network.defaults.device
    picture = torch.randn(1, 3, config.size, config.size, device=device)

    @torch.inference_mode()
    def forward() -> None:
        network(picture)[1].sum().item()  # waits for the device

    ways = {"network": forward, "picture to boxes": lambda: list(detector.detect([pixels]))}
    for name, call in ways.items():
        taken = np.percentile(milliseconds(call, calls), PERCENTILES)
        for percentile, value in zip(PERCENTILES, taken, strict=True):
            yield Figure(f"one picture, {name}, p{percentile}", float(value), "ms")


def milliseconds(call: Callable[[], object], calls: int) -> list[float]:
    """Of each call, after as many as a tenth of them that do not count."""
    taken = []
    for _ in range(calls + calls // 10 + 3):
        started = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - started))
    return taken[-calls:]
