"""What the checks take a split to promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset, write_card
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import Fold
from falconer.recsys.judging.lists import checks, leaky_features
from tests.support.datasets import write_dataset


def of_split(root: Path, protocol: str, **parameters: str) -> Dataset:
    """One user, asked in both folds at the time of the last event of the history."""
    fold = [(0, [0, 1], [2])]
    train = [(0, 0, 0), (0, 1, 1)]
    data = write_dataset(
        root, train=train, n_users=1, n_items=4, folds={"valid": fold, "test": fold}
    )
    split = data.card.split.model_copy(update={"protocol": protocol, "parameters": parameters})
    write_card(root, data.card.model_copy(update={"split": split}))
    return Dataset.open(root)


@pytest.mark.parametrize(
    ("parameters", "fold", "globally"),
    [
        ({}, "valid", True),
        ({}, "test", True),
        ({"valid_by": "last_event"}, "valid", False),
        ({"valid_by": "last_event"}, "test", True),
    ],
)
def test_validation_by_the_last_event_is_by_own_time(
    parameters: dict[str, str], fold: Fold, globally: bool, tmp_path: Path
) -> None:
    checked = checks.Checked(of_split(tmp_path / "data", "temporal", **parameters), fold, (10,))
    assert checked.by_global_time is globally


@pytest.mark.parametrize(
    ("protocol", "parameters", "own"),
    [
        ("leave_last", {}, True),
        ("user_share", {}, True),
        ("user_share", {"by": "random"}, False),
        ("random", {}, False),
        ("temporal", {}, False),
    ],
)
def test_which_protocols_promise_something_of_the_user_s_own_events(
    protocol: str, parameters: dict[str, str], *, own: bool, tmp_path: Path
) -> None:
    checked = checks.Checked(of_split(tmp_path / "data", protocol, **parameters), "test", (10,))
    assert checked.by_own_time is own


@pytest.mark.parametrize(("at_boundary", "late"), [(False, 1), (True, 2)])
def test_an_event_of_the_query_s_own_time_is_late_at_a_boundary_only(
    *, at_boundary: bool, late: int
) -> None:
    times = Ragged.of([[4, 5, 6]], dtype=np.int64)
    queries = Queries(np.zeros(1, np.int32), Ragged.of([[0, 1, 2]]), times, np.array([5]))
    assert checks._late(queries, at_boundary=at_boundary) == late


def test_a_feature_of_too_few_rows_or_one_value_tells_nothing() -> None:
    """Nineteen rows of two values that tell everything; twenty are enough, one value is not."""
    codes = np.arange(20) % 2
    assert leaky_features.told(codes, codes) == 1.0
    assert leaky_features.told(codes[:19], codes[:19]) is None
    assert leaky_features.told(np.zeros(20, np.int64), codes) is None
