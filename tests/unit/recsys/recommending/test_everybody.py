"""Lists for everybody: what is in them, going on after a kill, and the swap of `latest`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as arrow
import pytest
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.files import checksums, read_json
from falconer.recsys.models.popularity.on_numpy import PopularityScorer
from falconer.recsys.recommending import everybody
from falconer.recsys.recommending.business import ItemRules
from falconer.recsys.recommending.everybody import Wanted, point_latest, write_everybody
from tests.support.datasets import write_dataset

N_USERS, N_ITEMS = 20, 8
PLAN = {"window": "w", "model_version": "m-1"}
POPULAR = PopularityScorer(np.array([1] * (N_ITEMS - 1) + [13], np.float32), N_ITEMS)
WANTED = Wanted(3, "all", ItemRules(), "m-1", POPULAR)


class Model:
    """Knows all items but the last; likes those after the user's id. Fails at the call `stop`."""

    def __init__(self, stop: int = -1) -> None:
        self.items_known = np.arange(N_ITEMS) < N_ITEMS - 1
        self._left = stop

    def score(self, queries: Queries) -> NDArray[np.float32]:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        distance = (np.arange(N_ITEMS)[None, :] - queries.user[:, None]) % N_ITEMS
        scores = np.where(self.items_known, -distance, -np.inf)
        return scores.astype(np.float32)

    def save(self, directory: Path) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everybody, "USERS_AT_ONCE", 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folds: dict[str, Any] = {
        "test": [(user, [] if user == 5 else [user % N_ITEMS], [0]) for user in range(N_USERS)]
    }
    train = [(user, min(user, N_ITEMS - 1), user) for user in range(N_USERS)]
    root = tmp_path_factory.mktemp("everybody") / "data"
    return write_dataset(root, train=train, n_users=N_USERS, n_items=N_ITEMS, folds=folds)


def write(
    data: Dataset, folder: Path, model: Model | None = None, wanted: Wanted = WANTED
) -> dict[str, Any]:
    queries = data.path / "queries" / "test.parquet"
    return write_everybody(model or Model(), data, queries, folder, wanted, PLAN)


def test_rows_hold_own_ids_rank_score_reason_and_version(data: Dataset, tmp_path: Path) -> None:
    found = write(data, tmp_path / "window=w" / "version=v")
    table = arrow.dataset(tmp_path, partitioning="hive").to_table().to_pydict()
    assert set(table) == {
        "user", "item", "rank", "score", "reason", "model_version", "window", "version",
    }  # fmt: skip
    mine = [place for place, user in enumerate(table["user"]) if user == "u2"]
    assert [table["item"][place] for place in mine] == ["i2", "i3", "i4"]
    assert [table["score"][place] for place in mine] == [0, -1, -2]
    assert [table["rank"][place] for place in mine] == [1, 2, 3]
    assert set(table["model_version"]) == {"m-1"}
    assert set(table["window"]) == {"w"}
    assert found["counts"]["users"] == N_USERS
    assert found["counts"]["rows by the model"] == table["reason"].count("model")


def test_who_has_no_usable_history_gets_popular_items_and_it_is_said(
    data: Dataset, tmp_path: Path
) -> None:
    write(data, tmp_path / "lists")
    table = arrow.dataset(tmp_path / "lists").to_table().to_pydict()
    reasons = dict(zip(table["user"], table["reason"], strict=True))
    unusable = {"u5", *(f"u{u}" for u in range(N_USERS) if u % N_ITEMS == N_ITEMS - 1)}
    assert {user for user, reason in reasons.items() if reason == "fallback"} == unusable
    scores = zip(table["reason"], table["score"], strict=True)
    assert all((reason == "fallback") == (score is None) for reason, score in scores)


def test_rules_shorten_lists_and_popular_items_fill_them(data: Dataset, tmp_path: Path) -> None:
    barred = np.ones(N_ITEMS, np.bool_)
    barred[[1, N_ITEMS - 1]] = False
    wanted = Wanted(3, "all", ItemRules({"deny list": barred}), "m-1", POPULAR)
    counts = write(data, tmp_path / "lists", wanted=wanted)["counts"]
    table = arrow.dataset(tmp_path / "lists").to_table().to_pydict()
    assert set(table["item"]) == {"i1", f"i{N_ITEMS - 1}"}
    rows = zip(table["user"], table["item"], table["reason"], strict=True)
    of_three = {(item, reason) for user, item, reason in rows if user == "u3"}
    assert of_three == {("i1", "model"), (f"i{N_ITEMS - 1}", "fallback")}
    assert counts["lists that are short"] == N_USERS
    assert counts["deny list"] == N_USERS * (N_ITEMS - 2)


def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(data: Dataset, tmp_path: Path) -> None:
    write(data, tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        write(data, tmp_path / "lists", Model(stop=2))
    assert not (tmp_path / "lists").exists()
    calls = Model(stop=1)
    write(data, tmp_path / "lists", calls)  # two of three parts are there: one call is left
    assert checksums(tmp_path / "lists") == checksums(tmp_path / "undisturbed")
    assert not list(tmp_path.glob(".*"))
    write(data, tmp_path / "lists", Model(stop=0))  # nothing is left to do


def test_parts_of_another_plan_are_thrown_away(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(data, tmp_path / "lists", Model(stop=2))
    queries = data.path / "queries" / "test.parquet"
    other = {**PLAN, "model_version": "m-2"}
    with pytest.raises(KeyboardInterrupt):
        write_everybody(Model(stop=2), data, queries, tmp_path / "lists", WANTED, other)
    write_everybody(Model(), data, queries, tmp_path / "lists", WANTED, other)
    assert read_json(tmp_path / "lists" / "_manifest.json")["model_version"] == "m-2"


def test_latest_is_swapped_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "lists" / name).mkdir(parents=True)
        point_latest(tmp_path, tmp_path / "lists" / name)
        assert (tmp_path / "latest").resolve() == (tmp_path / "lists" / name).resolve()
    point_latest(tmp_path, tmp_path / "lists" / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "lists"]
