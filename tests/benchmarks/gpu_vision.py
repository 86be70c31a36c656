"""Pictures a second of ResNet-50's training step and answers on random pictures.

    python -m tests.benchmarks.gpu_vision [--small]

On a GPU: bf16, channels_last, compiled, 256 pictures of 224 x 224 at once, beside NVIDIA's
published figure for one A100 (2,470 pictures/s in training with mixed precision; its data pipeline
is in that figure and none is in ours). Without a GPU, or with --small, it says so and uses
ResNet-18 and small pictures in fp32, to show that it works.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from falconer.vision.config import NetworkConfig
from falconer.vision.networks.registry import build
from tests.gpu_check.figures import Figure, Figures, Place

SECONDS = 5.0
A100 = {"training": "A100: 2,470 pictures/s"}


def rate(step: Callable[[], object], pictures: int, device: torch.device, seconds: float) -> float:
    """Pictures a second of `step` after three steps that do not count."""
    for _ in range(3):
        step()
    _wait(device)
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
        if steps % 10 == 0:
            _wait(device)
    _wait(device)
    return steps * pictures / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(*, small: bool, seconds: float = SECONDS) -> dict[str, float]:
    """Pictures a second, in training and in answering."""
    device = torch.device("cpu" if small else "cuda")
    config = NetworkConfig(name="resnet18" if small else "resnet50", version="v1.5")
    n, size, n_classes = (2, 32, 10) if small else (256, 224, 1000)
    network = build(config, n_classes=n_classes, channels=3).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = torch.randn(n, 3, size, size, device=device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(n, device=device) % n_classes
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    forward = network if small else torch.compile(network)

    def logits() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=not small):
            found: torch.Tensor = forward(pictures)
            return found

    def train() -> None:
        loss = functional.cross_entropy(logits().float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    network.train()
    trained = rate(train, n, device, seconds)
    network.eval()
    with torch.inference_mode():
        answered = rate(logits, n, device, seconds)
    return {"training": trained, "answering": answered}


def figures(place: Place) -> Figures:
    """For the check of a GPU."""
    small = place.device == "cpu"
    for name, value in measure(small=small, seconds=0.2 if small else SECONDS).items():
        yield Figure(name, value, "pictures/s", beside=A100.get(name, ""))


def main() -> None:
    """Print the figures and what they were made on."""
    small = "--small" in sys.argv or not torch.cuda.is_available()
    place = "a CPU, in small: no figure to quote" if small else torch.cuda.get_device_name()
    print(f"ResNet on {place}, torch {torch.__version__}")
    print("  NVIDIA's example on one A100, training: 2,470 pictures/s")
    for name, value in measure(small=small, seconds=1.0 if small else SECONDS).items():
        print(f"  {name}: {value:,.0f} pictures/s")


if __name__ == "__main__":
    main()
