"""Checkpoint files below `<run>/checkpoints`: safetensors with the state as JSON and a checksum
in the header, and no pickle.

last.safetensors              model.*, ema.*, optimizer.* and the whole state: what a resumed
                              training starts from
earlier.safetensors           the one before it, for where the last one is damaged
best-<step>.safetensors       the weights that the model takes at the end; `last` says which step's
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exhaustion import named
from falconer.pipelines.files import atomic_file
from falconer.pipelines.training.result import State

HEADER = "falconer"
DIGEST = "sha256"


@dataclass(frozen=True)
class Checkpoint:
    """The content of `last.safetensors`."""

    state: State
    facts: Mapping[str, Any]
    """What must be the same when training goes on: configuration, versions, threads, lineage."""
    tensors: Mapping[str, torch.Tensor]
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What the optimisers keep besides tensors."""

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors below "<prefix>.", without it."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): value
            for name, value in self.tensors.items()
            if name.startswith(start)
        }


class Checkpoints:
    """The checkpoints of one fit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.last = directory / "last.safetensors"
        self.earlier = directory / "earlier.safetensors"
        self.passed_over: str | None = None
        """Why `load_last` took the earlier checkpoint, if it did: the damaged one is not to take
        its place."""

    def best(self, step: int) -> Path:
        """The file of the weights after `step`."""
        return self.directory / f"best-{step:09d}.safetensors"

    def save_best(self, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the best weights so far; the former ones stay until `save_last`."""
        _write(self.best(step), weights, {"step": step})

    def load_best(self, step: int) -> dict[str, torch.Tensor]:
        """The weights that `save_best` wrote; `ArtifactError` where they are absent or damaged."""
        return _read(self.best(step))[0]

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint, which becomes the earlier one; then remove best weights that
        neither names."""
        header = {
            "state": asdict(checkpoint.state),
            "facts": checkpoint.facts,
            "numbers": checkpoint.numbers,
        }
        with atomic_file(self.last) as partial:
            _save(partial, checkpoint.tensors, header)
            if self.last.exists() and self.passed_over is None:
                self.last.replace(self.earlier)
        self.passed_over = None
        kept = {self.best(checkpoint.state.best_step), self.best(self._best_step_of_earlier())}
        for path in self.directory.glob("best-*.safetensors"):
            if path not in kept:
                path.unlink()

    def _best_step_of_earlier(self) -> int:
        try:
            with safe_open(self.earlier, framework="pt") as file:
                return int(json.loads(file.metadata()[HEADER])["state"]["best_step"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
            return 0

    def load_last(self) -> Checkpoint | None:
        """The last checkpoint, or the earlier one where that is damaged; None where there is none
        yet. Raises `ArtifactError` where neither can be read."""
        there = [path for path in (self.last, self.earlier) if path.exists()]
        if not there:
            return None
        try:
            return _checkpoint(there[0])
        except ArtifactError as error:
            if len(there) == 1:
                raise
            found = _checkpoint(there[1])
            self.passed_over = (
                f"warning: {self.last}: missing or damaged, so the training goes on from the "
                f"checkpoint before it, of step {found.state.step} ({error.__cause__})"
            )
            return found


def _checkpoint(path: Path) -> Checkpoint:
    tensors, header = _read(path)
    try:
        return Checkpoint(State(**header["state"]), header["facts"], tensors, header["numbers"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: not a checkpoint of this release ({error}); train anew"
        ) from error


def _write(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    with atomic_file(path) as partial:
        _save(partial, tensors, header)


def _save(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header, sort_keys=True)
    save_file(whole, path, metadata={HEADER: text, DIGEST: _digest(whole, text)})


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if metadata[DIGEST] != _digest(tensors, metadata[HEADER]):
            raise ValueError("its content is not what was written")
        return tensors, json.loads(metadata[HEADER])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise named(error, path) or ArtifactError(
            f"{path}: missing or damaged ({error}); train anew"
        ) from error


def _digest(tensors: Mapping[str, torch.Tensor], header: str) -> str:
    """Hex sha256 of the header and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def refuse_other(path: Path, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """`ArtifactError` that names every fact in which a checkpoint differs from this training."""
    before, now = _flat(saved), _flat(own)
    differing = [
        key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)
    ]
    if differing:
        lines = "\n".join(
            f"  - {key}: {before.get(key)} in the checkpoint, {now.get(key)} here"
            for key in differing
        )
        raise ArtifactError(
            f"{path}: training cannot go on exactly from this checkpoint\n{lines}\n"
            "bring these back to what they were, or train anew"
        )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
    return flat
