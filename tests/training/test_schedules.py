"""Each schedule against its closed form and against torch's own."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.result import State
from falconer.pipelines.training.schedules import after_validation, factor_at

PER_EPOCH = 7


def config(schedule: dict[str, Any], **knobs: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"schedule": schedule, "epochs": 5, "monitor": "m", **knobs}
    )


def factors(settings: TrainingConfig) -> list[float]:
    steps = range(settings.epochs * PER_EPOCH)
    return [factor_at(settings, State(step=step), steps_per_epoch=PER_EPOCH) for step in steps]


def torchs(scheduler: Any, *, every: int = 1) -> list[float]:
    """The learning rates that a scheduler of torch gives to an optimiser with rate 1."""
    rates = []
    for step in range(5 * PER_EPOCH):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        if (step + 1) % every == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scheduler.step()
    return rates


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_constant_stays() -> None:
    assert factors(config({"kind": "constant"})) == [1.0] * 5 * PER_EPOCH


def test_warm_up_rises_in_a_straight_line_and_then_lets_the_schedule_be() -> None:
    warm = factors(config({"kind": "constant"}, warmup_steps=4))
    assert warm == [0.25, 0.5, 0.75, 1.0] + [1.0] * (5 * PER_EPOCH - 4)
    assert (
        factors(config({"kind": "step", "milestones": [2]}, warmup_steps=4))[4:]
        == factors(config({"kind": "step", "milestones": [2]}))[4:]
    )


def test_cosine_equals_torchs() -> None:
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer(), T_max=5 * PER_EPOCH, eta_min=0.1
    )
    assert factors(config({"kind": "cosine", "floor": 0.1})) == pytest.approx(
        torchs(theirs), abs=1e-12
    )


def test_cosine_begins_when_the_warm_up_ends() -> None:
    warm = factors(config({"kind": "cosine"}, warmup_steps=10))
    assert warm[10] == 1.0
    assert warm[20] == pytest.approx((1 + math.cos(math.pi * 10 / 25)) / 2)
    assert max(warm) == 1.0


def test_steps_equal_torchs() -> None:
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer(), [1, 3], gamma=0.2)
    ours = factors(config({"kind": "step", "milestones": [1, 3], "factor": 0.2}))
    assert ours == pytest.approx(torchs(theirs, every=PER_EPOCH))


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.integers(0, 3),
    st.sampled_from(["min", "max"]),
)
def test_plateau_equals_torchs(metrics: list[int], patience: int, mode: str) -> None:
    settings = config(
        {"kind": "plateau", "patience": patience, "factor": 0.5, "floor": 0.05}, mode=mode
    )
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer(), mode=mode, patience=patience, factor=0.5, threshold=0.0, min_lr=0.05, eps=0.0
    )
    state, best = State(), None
    for metric in metrics:
        better = best is None or (metric > best if mode == "max" else metric < best)
        best = metric if better else best
        after_validation(settings, state, better=better)
        theirs.step(metric)
        assert (
            factor_at(settings, state, steps_per_epoch=PER_EPOCH)
            == theirs.optimizer.param_groups[0]["lr"]
        )


@given(
    st.sampled_from(
        [
            {"kind": "constant"},
            {"kind": "cosine", "floor": 0.2},
            {"kind": "step", "milestones": [1]},
        ]
    ),
    st.integers(0, 50),
)
def test_a_factor_is_never_negative_and_never_above_one(
    schedule: dict[str, Any], warmup: int
) -> None:
    assert all(0 <= factor <= 1 for factor in factors(config(schedule, warmup_steps=warmup)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patience": 3}, "patience without monitor"),
        ({"schedule": {"kind": "plateau"}}, "schedule plateau without monitor"),
        ({"schedule": {"kind": "cosin"}}, "cosin"),
        ({"schedule": {"kind": "step"}}, "milestones: required"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
    ],
)
def test_mistakes_in_a_configuration_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(TrainingConfig, values, "training")
