"""A small SSD learns to find squares, and its batches are functions of seed, epoch and place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from falconer.pipelines import runs
from falconer.pipelines.training.torch import fit
from falconer.vision.config import NetworkConfig
from falconer.vision.detection.annotations import Annotated, Picture
from falconer.vision.detection.batches import DetectionBatches
from falconer.vision.detection.config import DetectionTraining, SsdConfig
from falconer.vision.detection.network import Ssd
from falconer.vision.detection.saved import new_network
from falconer.vision.detection.task import SsdTask, judge
from falconer.vision.networks.registry import build
from falconer.vision.networks.weights import save_weights

CONFIG = SsdConfig(
    size=160,
    training=DetectionTraining(
        epochs=25, batch_size=4, learning_rate=3e-3, optimizer="adam", threads=1, warmup_steps=5
    ),
)


def squares(folder: Path, n: int) -> Annotated:
    """Pictures with a red and a blue square each, at random places."""
    rng, pictures = np.random.default_rng(0), []
    for number in range(n):
        pixels = np.full((120, 160, 3), 200, np.uint8)
        boxes = []
        for label, half in enumerate((0, 80)):
            x, y = half + int(rng.integers(4, 30)), int(rng.integers(4, 70))
            pixels[y : y + 40, x : x + 40] = (230, 20, 20) if label == 0 else (20, 20, 230)
            boxes.append([x, y, x + 40, y + 40])
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        none = np.zeros(2, np.bool_)
        pictures.append(
            Picture(path, 160, 120, np.array(boxes, np.float64), np.arange(2), np.full(2, 1600.0),
                    none, none)
        )  # fmt: skip
    return Annotated(("red", "blue"), tuple(pictures))


def small_network(n_classes: int, size: int) -> Ssd:
    """A trunk of three convolutions."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n_in, n_out in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(n_in, n_out, 3, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return Ssd(nn.Sequential(*layers), 32, n_classes, size)


def test_a_network_has_an_answer_for_every_default_box_at_any_size() -> None:
    for size in (160, 200, 300):
        network = small_network(2, size)
        offsets, logits = network(torch.zeros(2, 3, size, size))
        assert offsets.shape == (2, len(network.defaults), 4)
        assert logits.shape == (2, len(network.defaults), 3)
    assert len(network.defaults) == 8732


def test_rows_of_the_heads_are_in_the_order_of_the_default_boxes() -> None:
    """With weights of zero and a bias for each box of a place, every place says the same boxes."""
    network = small_network(1, 160).eval()
    for head in network.placing:
        nn.init.zeros_(head.weight)
        head.bias.data = torch.arange(len(head.bias), dtype=torch.float32)
    offsets, _ = network(torch.rand(1, 3, 160, 160))
    assert offsets[0, :4].tolist() == [[4 * n + i for i in range(4)] for n in range(4)]
    assert torch.equal(offsets[0, 4:8], offsets[0, :4])


def test_batches_depend_on_seed_epoch_and_place_only(tmp_path: Path) -> None:
    data = squares(tmp_path, 9)
    made = [
        DetectionBatches(data.pictures, CONFIG, augment=CONFIG.augment, device=torch.device("cpu"))
        for _ in range(2)
    ]
    whole, late = list(made[0].epoch(1)), list(made[1].epoch(1, start=1))
    assert len(whole) == len(made[0]) == 2
    assert torch.equal(whole[1].pictures, late[0].pictures)
    assert all(map(torch.equal, whole[1].boxes, late[0].boxes))
    other = next(made[0].epoch(2))
    assert not torch.equal(other.pictures, whole[0].pictures)


def trained(folder: Path, data: Annotated, epochs: int) -> Ssd:
    training = CONFIG.training.model_copy(update={"epochs": epochs})
    config = CONFIG.model_copy(update={"training": training})
    network = small_network(2, CONFIG.size)
    with runs.start(folder, model="ssd", backend="torch", config={}) as run:
        fit(SsdTask(network, config, data, data), training, run)
    return network


def test_squares_are_found(tmp_path: Path) -> None:
    data = squares(tmp_path, 8)
    network = trained(tmp_path / "runs", data, 30)
    assert judge(network, CONFIG, data).metrics()["map@.5"] > 0.5


def test_the_same_training_gives_the_same_bytes(tmp_path: Path) -> None:
    data = squares(tmp_path, 4)
    first, again = (trained(tmp_path / "runs", data, 2).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_one_class_is_learned(tmp_path: Path) -> None:
    whole = squares(tmp_path, 2)
    data = Annotated(
        ("square",), tuple(replace(one, labels=np.zeros(2, np.int64)) for one in whole.pictures)
    )
    network = small_network(1, CONFIG.size)
    task = SsdTask(network, CONFIG, data, data)
    loss = task.loss(next(iter(task.batches.epoch(0))))
    assert loss.isfinite()
    assert network(torch.zeros(2, 3, CONFIG.size, CONFIG.size))[1].shape[2] == 2
    assert set(task.validate()) >= {"map", "map@.5", "ap@.5 square"}


def test_more_classes_than_the_weights_have(tmp_path: Path) -> None:
    """Of a file of weights only the trunk is taken; its head may be of fewer classes."""
    classifier = build(NetworkConfig(name="resnet18"), n_classes=2, channels=3)
    save_weights(classifier, tmp_path / "w.safetensors", {"architecture": "resnet18"})
    begun = NetworkConfig(name="resnet18", weights=str(tmp_path / "w.safetensors"))
    config = SsdConfig(network=begun, size=160)
    network = new_network(config, n_classes=5)
    _, logits = network(torch.zeros(2, 3, 160, 160))
    assert logits.shape[2] == 6
    own, taken = classifier.state_dict(), {id(p): p for p in network.trunk.parameters()}.values()
    assert sum(any(torch.equal(p, value) for value in own.values()) for p in taken) == len(taken)
