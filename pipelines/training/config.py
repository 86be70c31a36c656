"""The knobs of the training loop. Importing this module needs pydantic only."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from falconer.pipelines.config import Config

OptimizerName = Literal[
    "adam", "adamw", "sgd", "adagrad", "sparse_adam", "row_wise_adagrad", "ftrl"
]


class Constant(Config):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"


class Cosine(Config):
    """Half a cosine from the full rate at the end of the warm-up down towards `floor` x the rate,
    which the step after the last one would have."""

    kind: Literal["cosine"] = "cosine"
    floor: float = Field(default=0.0, ge=0, le=1)


class Step(Config):
    """The rate is multiplied by `factor` at the start of each epoch listed in `milestones` (the
    first epoch is 0)."""

    kind: Literal["step"] = "step"
    milestones: tuple[int, ...] = Field(min_length=1)
    factor: float = Field(default=0.1, gt=0, le=1)


class Plateau(Config):
    """The rate is multiplied by `factor` after more than `patience` validations in a row without a
    better `monitor`."""

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=2, ge=0)
    floor: float = Field(default=0.0, ge=0, le=1)
    """The rate never falls below `floor` x the full rate."""


Schedule = Annotated[Constant | Cosine | Step | Plateau, Field(discriminator="kind")]


class TrainingConfig(Config):
    """How to fit a torch model, whatever the model and its batches are.

    A step is one update of the weights. Epochs and steps are counted from 0.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: int = Field(default=10, ge=1)
    optimizer: OptimizerName = "adam"
    """Of every parameter group that does not name its own."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled from the gradient with adamw, an L2 penalty with the others; sparse_adam and
    row_wise_adagrad have none."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd; 0 is plain gradient descent."""
    schedule: Schedule = Constant()
    warmup_steps: int = Field(default=0, ge=0)
    """The rate rises in a straight line to its full height over so many steps."""
    clip_norm: float | None = Field(default=None, gt=0)
    """The gradient of all parameters together is scaled down to this norm where it is longer."""
    accumulate: int = Field(default=1, ge=1)
    """Batches in one step: the same gradient as one batch that is so many times as large."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Validate and keep an exponential moving average of the weights: average = d average + (1 - d)
    weights."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 computes products of matrices in it, and weights stay fp32; auto is bf16 on a GPU that
    has it, and fp32 elsewhere."""
    compile: bool = False
    """Compile the model with `torch.compile`: worth its start-up on a GPU or for long training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto is the GPU where there is one."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch; as many as the process was given where left out. The bytes of a result
    depend on it."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of dropout and of all else that the loop's steps draw; a model sets it to its own seed."""
    validate_every: float = Field(default=1.0, gt=0)
    """Epochs between two validations: 0.5 is twice an epoch, 2 every second epoch. There is always
    one at the end."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints, besides the one after each validation."""
    monitor: str | None = None
    """The metric of the validation (or `loss`) that chooses the best weights; without one the last
    weights count."""
    mode: Literal["max", "min"] = "max"
    """Whether a higher or a lower `monitor` is better."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many validations in a row without a better `monitor`; None = never."""

    @field_validator("precision", mode="before")
    @classmethod
    def _no_fp16(cls, value: object) -> object:
        if value in ("fp16", "float16"):
            raise ValueError(
                "fp16 underflows without a scaled loss, which is not built; bf16 has the range of "
                "fp32 and needs none"
            )
        return value

    @model_validator(mode="after")
    def _needs_a_monitor(self) -> Self:
        needing = [
            name
            for name, needs in (("patience", self.patience), ("schedule plateau", self._plateaus))
            if needs
        ]
        if needing and self.monitor is None:
            raise ValueError(
                f"{' and '.join(needing)} without monitor: say which metric is to get better"
            )
        return self

    @property
    def _plateaus(self) -> bool:
        return isinstance(self.schedule, Plateau)
