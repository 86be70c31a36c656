"""The device, its precision, and torch's settings for the time of a training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.config import TrainingConfig

F = TypeVar("F", bound=Callable[..., Any])


def device_of(config: TrainingConfig) -> torch.device:
    """The device that `config.device` means here; one GPU a process under `torchrun`.

    Raises `ConfigError` where a GPU is asked for and there is none.
    """
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            'training.device is "cuda", and torch finds no GPU here; set training.device = "auto"'
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def uses_bf16(config: TrainingConfig, device: torch.device) -> bool:
    """Whether the loss is computed under bf16 autocast: as configured, and by itself only where a
    GPU gains by it."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.precision == "bf16"


@contextmanager
def torch_settings(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Threads as configured, and on CPU deterministic algorithms only; as before when the block
    ends.

    New memory is not filled with NaN first, as torch does beside deterministic algorithms to show
    up a read of it: no operation that the models use reads what it has not written, and the filling
    took a fifth of DLRM's training. cuDNN's attention is left out: it prepares itself anew for each
    length that a batch of sequences has, which took two thirds of a step on an H200.
    """
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fills = memory.fill_uninitialized_memory
    attention: Any = torch.backends.cuda
    attends = attention.cudnn_sdp_enabled()
    torch.set_num_threads(config.threads or threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    memory.fill_uninitialized_memory = False
    attention.enable_cudnn_sdp(enabled=False)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        memory.fill_uninitialized_memory = fills
        attention.enable_cudnn_sdp(attends)


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of `device` as a function of the step.

    So a training that goes on at this step draws what it would have drawn, and no generator's state
    is kept.
    """
    text = f"{seed} {step} {rank}".encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(number)


def uncompiled(function: F) -> F:
    """`function` as it is where a model is compiled: what is before and behind it is compiled
    apart."""
    left_out: F = cast(Any, torch.compiler).disable(function)
    return left_out
