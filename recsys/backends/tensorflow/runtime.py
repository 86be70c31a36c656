"""TensorFlow's settings of a process, and what of a training's knobs it does not honour."""

from __future__ import annotations

import tensorflow as tf

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.shard import current_shard


def settle(config: TrainingConfig) -> None:
    """Deterministic operations, and CPU threads as configured; both hold for the whole process.

    Raises `ConfigError` where threads are asked for after TensorFlow began with others.
    """
    tf.config.experimental.enable_op_determinism()
    if config.threads is None:
        return
    ways = (
        (
            tf.config.threading.get_intra_op_parallelism_threads,
            tf.config.threading.set_intra_op_parallelism_threads,
        ),
        (
            tf.config.threading.get_inter_op_parallelism_threads,
            tf.config.threading.set_inter_op_parallelism_threads,
        ),
    )
    for number, choose in ways:
        if number() == config.threads:
            continue
        try:
            choose(config.threads)
        except RuntimeError as error:
            raise ConfigError(
                f"training.threads is {config.threads}, and TensorFlow began in this process with "
                f"{number() or 'all'}; train in a process of its own"
            ) from error


def refuse_knobs(config: TrainingConfig) -> None:
    """`ConfigError` that names every knob which this side would have to ignore."""
    wrong = []
    if config.compile:
        wrong.append("training.compile is torch's; a step is a graph here in any case")
    if config.optimizer == "sparse_adam":
        wrong.append(
            'training.optimizer = "sparse_adam" is torch\'s; set model.tables.gradients = "sparse" '
            "for tables"
        )
    if config.device == "cuda" and not tf.config.list_physical_devices("GPU"):
        wrong.append(
            'training.device is "cuda", and TensorFlow finds no GPU here; set '
            'training.device = "auto"'
        )
    if current_shard().world > 1:
        wrong.append("several processes are torch's; start it without torchrun")
    if wrong:
        raise ConfigError("backend tensorflow: " + "; ".join(wrong))


def uses_bf16(config: TrainingConfig) -> bool:
    """Whether products are computed in bf16: as configured, and by itself only on a GPU that gains
    by it (compute capability 8.0 and above)."""
    if config.precision != "auto":
        return config.precision == "bf16"
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus or config.device == "cpu":
        return False
    details = tf.config.experimental.get_device_details(gpus[0])
    return bool(details.get("compute_capability", (0, 0)) >= (8, 0))


def device_name(config: TrainingConfig) -> str:
    """TensorFlow's name of the device that `config.device` means here."""
    gpus = tf.config.list_physical_devices("GPU")
    return "/GPU:0" if gpus and config.device != "cpu" else "/CPU:0"
