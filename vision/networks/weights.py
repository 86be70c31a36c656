"""Weights that others trained: safetensors files with torchvision's names of tensors.

The two forms of a bottleneck have the same tensors, so a file must say of which form it is: in its
metadata (`architecture`, such as "resnet50-v1", and `bn_eps`), or the recipe does.
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import atomic_file, sha256_of
from falconer.vision.config import NetworkConfig
from falconer.vision.networks.classifier import Classifier
from falconer.vision.networks.resnet import BASIC, DEPTHS, Version

MOST_BYTES = 2**31
SECONDS = 60
WEIGHTS_FOLDER = Path("data") / "weights"


@dataclass(frozen=True)
class Weights:
    """Tensors of a network, and what their file says of it (None where it says nothing)."""

    origin: str
    tensors: Mapping[str, Tensor]
    architecture: str | None
    bn_eps: float | None


def read_weights(path: Path) -> Weights:
    """Read a safetensors file; `ArtifactError` where it is absent or damaged."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file of weights")
    try:
        with safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
        tensors = load_file(path)
        eps = float(metadata["bn_eps"]) if "bn_eps" in metadata else None
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{path}: no safetensors file, or damaged ({error})") from error
    return Weights(str(path), tensors, metadata.get("architecture"), eps)


def agreed(config: NetworkConfig, weights: Weights) -> NetworkConfig:
    """`config` with the form and the epsilon that the weights were trained with.

    Raises `ConfigError` where the recipe and the file contradict each other, and where neither says
    which form of a bottleneck it is.
    """
    name, _, version = (weights.architecture or "").partition("-")
    if name and name != config.name:
        raise ConfigError(f"{weights.origin}: weights of {name}, and network.name is {config.name}")
    if version and config.version and version != config.version:
        raise ConfigError(
            f"{weights.origin}: weights of the form {version}, and network.version is "
            f"{config.version}; the tensors fit and the answers would be wrong"
        )
    if weights.bn_eps and config.batch_norm_eps and weights.bn_eps != config.batch_norm_eps:
        raise ConfigError(
            f"{weights.origin}: trained with a batch_norm_eps of {weights.bn_eps}, and "
            f"network.batch_norm_eps is {config.batch_norm_eps}"
        )
    bottlenecks = config.name in DEPTHS and config.name not in BASIC
    if bottlenecks and not (version or config.version):
        raise ConfigError(
            f"{weights.origin}: does not say whether it is a {config.name} v1 or v1.5, whose "
            "tensors "
            'are alike; set network.version = "v1.5" for weights of torchvision or NVIDIA, '
            '"v1" for '
            "weights of Keras or Caffe"
        )
    known: dict[str, object] = {}
    if version:
        known["version"] = cast(Version, version)
    if weights.bn_eps:
        known["batch_norm_eps"] = weights.bn_eps
    return config.model_copy(update=known)


def load_weights(network: Classifier, weights: Weights) -> bool:
    """Overwrite the network's tensors; returns whether the head fitted too.

    A head of other classes stays as it was. Raises `ArtifactError` that names what is missing,
    unknown or of another shape.
    """
    head = f"{network.head_name}."
    own = _without_counters(network.state_dict())
    given = _without_counters(weights.tensors)
    fits = all(
        name in given and given[name].shape == own[name].shape
        for name in own
        if name.startswith(head)
    )
    wanted = {name for name in own if fits or not name.startswith(head)}
    given = {name: value for name, value in given.items() if fits or not name.startswith(head)}
    missing = sorted(wanted - given.keys())
    unknown = sorted(given.keys() - wanted)
    shapes = sorted(name for name in wanted & given.keys() if given[name].shape != own[name].shape)
    wrong = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    if any(wrong.values()):
        listed = "; ".join(
            f"{len(names)} {what}, such as {names[0]}" for what, names in wrong.items() if names
        )
        raise ArtifactError(f"{weights.origin}: not weights of this network: {listed}")
    network.load_state_dict(given, strict=False)
    return fits


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the steps that normalisation has seen, which no answer depends on."""
    return {
        name: value for name, value in tensors.items() if not name.endswith(".num_batches_tracked")
    }


def save_weights(network: torch.nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network's tensors as safetensors."""
    tensors = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, dict(metadata))


def weights_path(address: str, folder: Path = WEIGHTS_FOLDER) -> Path:
    """The file that `address` means: a path, or "https://...#sha256=<64 hex digits>", which is
    fetched once into `folder`.

    Raises `ConfigError` for an address without its sha256, `ArtifactError` where other bytes came.
    """
    if not address.startswith("https://"):
        return Path(address)
    url, _, wanted = address.partition("#sha256=")
    if len(wanted) != 64:
        raise ConfigError(
            f"{url}: a file from the network needs its sha256: write {url}#sha256=..."
        )
    target = folder / f"{wanted}.safetensors"
    if not target.exists():
        _fetch(url, wanted, target)
    return target


def _fetch(url: str, wanted: str, target: Path) -> None:
    with atomic_file(target) as partial:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as stream:
                content = stream.read(MOST_BYTES + 1)
        except (urllib.error.URLError, OSError) as error:
            raise ArtifactError(f"{url}: cannot be fetched ({error})") from error
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            raise ArtifactError(f"{url}: sha256 is {found}, and {wanted} is wanted")
        partial.write_bytes(content)


def fingerprint(path: Path) -> str:
    """The sha256 that stands for a file of weights in a run's facts."""
    return sha256_of(path)
