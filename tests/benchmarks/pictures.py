"""Pictures beside torchvision and torch's DataLoader, one after the other in the same run.

    python -m tests.benchmarks.pictures

Printed as ratios, which a busy machine disturbs less than rates. torchvision is measured where it
can be imported: `scripts/oracles torchvision` fetches it, and its folder goes on PYTHONPATH.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from falconer.vision.config import AugmentConfig, NetworkConfig, PicturesConfig, VisionConfig
from falconer.vision.data.batches import PictureBatches
from falconer.vision.data.folder import read_folder
from falconer.vision.data.prepared import Prepared, prepare
from falconer.vision.detection.boxes import decode
from falconer.vision.detection.default_boxes import default_boxes
from falconer.vision.detection.suppression import detections_of
from falconer.vision.networks.registry import build

MAPS = (38, 19, 10, 5, 3, 1)
N_CLASSES = 81
LOWEST, OVERLAP, MOST_A_CLASS, MOST = 0.02, 0.5, 400, 200
WORKERS = 2


@dataclass(frozen=True)
class Size:
    """How large the measurement is."""

    rounds: int = 5
    network: str = "resnet50"
    side: int = 96
    batch: int = 4
    pictures: int = 400


SMALL = Size(rounds=1, network="resnet18", side=32, batch=2, pictures=8)


def main() -> None:
    """Print every comparison."""
    size = Size()
    torch.set_num_threads(1)  # waiting threads would count as the processor's work
    there = importlib.util.find_spec("torchvision") is not None
    print(f"torch {torch.__version__}; seconds of the processor, theirs over ours")
    for name, ratio in chain(finding(size, there=there), training(size, there=there)):
        print(f"  {name:<58} {ratio}")
    print("pictures a second by the wall clock")
    for name, rate in reading(size):
        print(f"  {name:<58} {rate:,.0f}")


def finding(size: Size, *, there: bool) -> Iterator[tuple[str, str]]:
    """Decoding and suppression of 8,732 boxes of 81 classes (the background is one)."""
    defaults = default_boxes(300, [(n, n) for n in MAPS])
    for name, offsets, logits in _answers(len(defaults)):

        def ours(offsets: Tensor = offsets, logits: Tensor = logits) -> object:
            scores = logits.softmax(-1)[0, :, 1:]
            boxes = decode(offsets, defaults)[0].clamp(0, 1)
            return detections_of(
                boxes,
                scores,
                lowest=LOWEST,
                overlap=OVERLAP,
                most_a_class=MOST_A_CLASS,
                most=MOST,
            )

        theirs = _torchvisions_finding(offsets, logits, defaults) if there else None
        with torch.inference_mode():
            yield f"finding, {name}", _ratio(ours, theirs, size.rounds)


def _answers(n: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Offsets and logits as a network gives them, sure of 300 boxes; and before it was trained."""
    random = torch.Generator().manual_seed(0)
    offsets = torch.randn(1, n, 4, generator=random)
    logits = torch.randn(1, n, N_CLASSES, generator=random)
    yield "untrained network", offsets, logits
    sure = logits.clone()
    sure[..., 0] += 9
    hot = torch.randint(0, n, (300,), generator=random)
    sure[0, hot, torch.randint(1, N_CLASSES, (300,), generator=random)] += 9
    yield "trained network", offsets, sure


def _torchvisions_finding(
    offsets: Tensor, logits: Tensor, defaults: Tensor
) -> Callable[[], object]:
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.ssd import SSD

    ssd: Any = SSD.__new__(SSD)
    nn.Module.__init__(ssd)
    ssd.box_coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    ssd.score_thresh, ssd.nms_thresh = LOWEST, OVERLAP
    ssd.topk_candidates, ssd.detections_per_img = MOST_A_CLASS, MOST
    outputs = {"bbox_regression": offsets, "cls_logits": logits}
    return lambda: ssd.postprocess_detections(outputs, [defaults], [(1, 1)])


def training(size: Size, *, there: bool) -> Iterator[tuple[str, str]]:
    """A training step of the same network, in the same loop, with the same layout in memory."""
    config = NetworkConfig.model_validate({"name": size.network})
    for layout in (torch.channels_last, torch.contiguous_format):
        ours = _step(build(config, n_classes=10, channels=3), size, layout)
        theirs = None
        if there:
            import torchvision

            network = getattr(torchvision.models, size.network)(num_classes=10)
            theirs = _step(network, size, layout)
        name = str(layout).removeprefix("torch.")
        yield f"training {size.network}, {name}", _ratio(ours, theirs, size.rounds)


def _step(network: nn.Module, size: Size, layout: torch.memory_format) -> Callable[[], object]:
    network.train()
    network.to(memory_format=layout)  # type: ignore[call-overload]
    pictures = torch.randn(size.batch, 3, size.side, size.side).contiguous(memory_format=layout)
    labels = torch.arange(size.batch) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        loss = functional.cross_entropy(network(pictures), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _ratio(ours: Callable[[], object], theirs: Callable[[], object] | None, rounds: int) -> str:
    """Best of some rounds, in turn, after one each that does not count."""
    jobs = {"ours": ours} | ({"theirs": theirs} if theirs else {})
    seconds = dict.fromkeys(jobs, float("inf"))
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            started = time.process_time()
            job()
            if round_:
                seconds[name] = min(seconds[name], time.process_time() - started)
    own = f"ours {1000 * seconds['ours']:.1f} ms"
    if theirs is None:
        return f"{own}; torchvision is not there"
    return f"{seconds['theirs'] / max(seconds['ours'], 1e-9):.2f}  ({own})"


def reading(size: Size) -> Iterator[tuple[str, float]]:
    """An epoch of random crops of 224 x 224 out of JPEG files, two threads or processes."""
    config = VisionConfig(
        pictures=PicturesConfig(),
        augment=AugmentConfig(crop="random_resized", flip=True),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = _jpegs(Path(name) / "photos", size.pictures)
        started = time.perf_counter()
        prepared = prepare(read_folder(folder), config.pictures, Path(name) / "prepared")
        yield "ours, preparing (once)", size.pictures / (time.perf_counter() - started)
        loader: DataLoader[Tensor] = DataLoader(
            Photos(folder), batch_size=8, num_workers=WORKERS, persistent_workers=WORKERS > 0
        )
        epochs = (_epochs(prepared, config), repeat(loader))
        for label, batches in zip(
            ("ours, an epoch", "DataLoader with Pillow"), epochs, strict=True
        ):
            next(iter(next(batches)))
            started, n = time.perf_counter(), 0
            for batch in next(batches):
                n += len(batch)
            yield label, n / (time.perf_counter() - started)


def _epochs(prepared: Prepared, config: VisionConfig) -> Iterator[Iterator[Tensor]]:
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"batch_size": 8})}
    )
    batches = PictureBatches(prepared, np.arange(len(prepared)), config, device=torch.device("cpu"))
    number = 0
    while True:
        yield (batch.pictures for batch in batches.epoch(number))
        number += 1


def _jpegs(folder: Path, n: int) -> Path:
    """Photographs, as far as their size goes: smooth noise of 500 x 375."""
    rng = np.random.default_rng(0)
    for number in range(n):
        target = folder / f"class{number % 2}" / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(target, quality=90)
    return folder


class Photos(Dataset[Tensor]):
    """The peer: each picture is read, cropped at random, scaled, mirrored and normalised."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> Tensor:
        with Image.open(self._paths[place]) as image:
            width, height = image.size
            side = int(min(width, height) * float(torch.rand(()).clamp(min=0.3)))
            left, top = (int(torch.rand(()) * (room - side)) for room in (width, height))
            box = (left, top, left + side, top + side)
            cut = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255
        if torch.rand(()) < 0.5:
            pixels = pixels.flip(-1)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (pixels - mean[:, None, None]) / std[:, None, None]


if __name__ == "__main__":
    main()
