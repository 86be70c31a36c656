from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Feature
from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys.configs.business import BusinessRules
from falconer.recsys.lists.ranked import TopK
from falconer.recsys.recommending.business import ItemRules, choose, item_rules
from tests.support.datasets import write_dataset

N_ITEMS = 12


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[list[int]], list[bool], list[int], int, int]:
    rows = draw(
        st.lists(
            st.lists(st.integers(-1, N_ITEMS - 1), min_size=8, max_size=8), min_size=1, max_size=5
        )
    )
    barred = draw(st.lists(st.booleans(), min_size=N_ITEMS, max_size=N_ITEMS))
    codes = draw(st.lists(st.integers(-1, 3), min_size=N_ITEMS, max_size=N_ITEMS))
    return rows, barred, codes, draw(st.integers(1, 3)), draw(st.integers(1, 8))


def by_hand(
    row: list[int], barred: list[bool], codes: list[int], most: int, k: int
) -> tuple[list[int], int, int]:
    """Places, and how many were taken away by each rule, one candidate after the other."""
    places: list[int] = []
    chosen: set[int] = set()
    per_code: dict[int, int] = {}
    by_bar = by_code = 0
    seen: set[int] = set()
    for place, item in enumerate(row):
        if len(places) == k:
            break
        if item < 0 or item in seen:
            continue
        seen.add(item)
        if barred[item]:
            by_bar += 1
            continue
        code = codes[item]
        if code >= 0 and per_code.get(code, 0) >= most:
            by_code += 1
            continue
        per_code[code] = per_code.get(code, 0) + 1
        chosen.add(item)
        places.append(place)
    return places, by_bar, by_code


@given(questions())
def test_lists_and_counts_are_those_of_a_loop(
    question: tuple[list[list[int]], list[bool], list[int], int, int],
) -> None:
    rows, barred, codes, most, k = question
    rules = ItemRules({"bar": np.array(barred)}, {"kind": (np.array(codes, np.int32), most)})
    items = np.array(rows, np.int32)
    places, counts = choose(TopK(items, np.zeros(items.shape, np.float32)), rules, k)
    wanted = [by_hand(row, barred, codes, most, k) for row in rows]
    assert [[p for p in row if p >= 0] for row in places.tolist()] == [one[0] for one in wanted]
    assert counts == {"bar": sum(one[1] for one in wanted), "kind": sum(one[2] for one in wanted)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    features = [Feature(name="kind", table="item", kind="categorical", cardinality=3)]
    return write_dataset(
        tmp_path_factory.mktemp("business") / "data",
        train=[(0, 0, 0), (1, 1, 1)],
        n_users=2,
        n_items=4,
        folds={"test": [(0, [0], [1])]},
        features=features,
    )


def test_rules_of_a_dataset(data: Dataset, tmp_path: Path) -> None:
    deny = tmp_path / "deny.txt"
    deny.write_text("i2\n\n unknown \n")
    day = 86_400
    rules = BusinessRules(deny=deny, fresh_days=2, at_most={"kind": 1})
    found = item_rules(rules, data, last_event=np.array([10, 9, 8, 7]) * day, now=10 * day)
    assert found.barred["deny list"].tolist() == [False, False, True, False]
    assert found.barred["freshness"].tolist() == [False, False, False, True]
    assert list(found.at_most) == ["at most 1 of one kind"]


def test_rules_that_cannot_be_kept_are_errors(data: Dataset, tmp_path: Path) -> None:
    last = np.zeros(4, np.int64)
    with pytest.raises(ConfigError, match="no categorical feature of the items; there are kind"):
        item_rules(BusinessRules(at_most={"colour": 1}), data, last_event=last, now=0)
    with pytest.raises(DataError, match="cannot be read"):
        item_rules(BusinessRules(deny=tmp_path / "absent"), data, last_event=last, now=0)
