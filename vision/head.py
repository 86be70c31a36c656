"""A new head on a frozen network: features are extracted once, and only they are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from falconer.pipelines.console import progress
from falconer.pipelines.files import atomic_file, identity_of
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.shard import current_shard
from falconer.pipelines.training.task import Task
from falconer.vision.config import ImageTraining, PicturesConfig, VisionConfig
from falconer.vision.data.batches import judged_pictures, targets_of
from falconer.vision.data.prepared import Prepared
from falconer.vision.judging.metrics import quick_metrics
from falconer.vision.networks.classifier import Classifier
from falconer.vision.task import loss_of

FEATURES_AT_ONCE = 32
Float32 = NDArray[np.float32]


def features_of(
    network: Classifier, prepared: Prepared, config: PicturesConfig, *, weights_sha256: str
) -> Float32:
    """float32[n, n_features] of all prepared pictures, from the cache beside them where it is
    there.

    The cache's name follows from the weights and from how pictures become input.
    """
    name = identity_of([weights_sha256, config.model_dump(mode="json")])
    path = prepared.path.parent / f"{prepared.path.name}-features" / f"{name}.npy"
    if not path.exists():
        _extract(network, prepared, config, path)
    found: Float32 = np.load(path, allow_pickle=False)
    return found


@torch.no_grad()
def _extract(network: Classifier, prepared: Prepared, config: PicturesConfig, path: Path) -> None:
    network.eval()
    device = next(network.parameters()).device
    rows = np.arange(len(prepared))
    blocks = judged_pictures(prepared, rows, config, device=device, size=FEATURES_AT_ONCE)
    n_blocks = -(-len(rows) // FEATURES_AT_ONCE)
    shown = progress(blocks, label="extracting features", total=n_blocks)
    features = [network.features(pictures).float().cpu().numpy() for pictures in shown]
    with atomic_file(path) as partial, partial.open("wb") as stream:
        np.save(stream, np.concatenate(features))


Batch = tuple[Tensor, Tensor]


class FeatureBatches:
    """Batches of features and targets, in an order that follows from seed and epoch."""

    def __init__(self, features: Tensor, targets: Tensor, *, size: int, seed: int) -> None:
        self._features, self._targets = features, targets
        self._size, self._seed, self._shard = size, seed, current_shard()

    def __len__(self) -> int:
        return -(-len(self._features) // self._size)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Batch]:
        """Batches `start`, `start` + 1, ... of an epoch."""
        order = np.random.default_rng([self._seed, number]).permutation(len(self._features))
        for place in range(start, len(self)):
            rows = order[place * self._size : (place + 1) * self._size]
            chosen = torch.from_numpy(rows[self._shard.rows(len(rows))])
            yield self._features[chosen], self._targets[chosen]


class HeadTask(Task[Batch]):
    """Trains `network`'s head (with its dropout) on features of its pictures."""

    def __init__(
        self,
        network: Classifier,
        config: VisionConfig,
        training: ImageTraining,
        prepared: Prepared,
        features: Float32,
        *,
        train: NDArray[np.int64],
        valid: NDArray[np.int64],
    ) -> None:
        device = device_of(training)
        self.model = nn.Sequential(network.dropout, network.head).to(device)
        self._training, self._tags = training, prepared.card.task == "tags"
        self._valid = torch.from_numpy(features[valid]).to(device)
        self._truth = prepared.labels[valid]
        self._batches = FeatureBatches(
            torch.from_numpy(features[train]).to(device),
            torch.from_numpy(targets_of(prepared, train)).to(device),
            size=training.batch_size,
            seed=config.seed,
        )

    @property
    def batches(self) -> FeatureBatches:
        """Features of the pictures that are trained on."""
        return self._batches

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy, or binary cross entropy of tags."""
        smoothing = self._training.label_smoothing
        return loss_of(self.model(batch[0]), batch[1], tags=self._tags, smoothing=smoothing)

    def size(self, batch: Batch) -> int:
        """Pictures in the batch."""
        return len(batch[0])

    def validate(self) -> Mapping[str, float]:
        """As `ClassifierTask.validate`."""
        if not len(self._valid):
            return {}
        return quick_metrics(self.model(self._valid).float().cpu().numpy(), self._truth)

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """The head's weights decay, its biases do not."""
        decays = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim == 1]
        return [{"params": decays}, {"params": others, "weight_decay": 0.0}]
