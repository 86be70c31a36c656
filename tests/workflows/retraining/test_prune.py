"""What is pruned, and that everything that a verdict or an alias refers to is still there."""

from __future__ import annotations

import errno
from datetime import date
from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError, PipelineError
from falconer.pipelines.files import write_json
from falconer.workflows.retraining import champions, decisions
from falconer.workflows.retraining import prune as pruning
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.delivery import deliver
from falconer.workflows.retraining.lock import BusyError, locked
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DATASET, Places
from falconer.workflows.retraining.prune import prune, unneeded
from falconer.workflows.retraining.status import SCORES, status
from tests.support import orders


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline with two decided windows and their lists."""
    folder = tmp_path_factory.mktemp("prune")
    orders.write(folder)
    found = orders.pipeline(folder, recommend={"k": 5})
    for window in (orders.FIRST, orders.SECOND):
        retrain(found, found.window(window))
    return found


def names(places: Places, paths: list[Path]) -> set[str]:
    return {path.relative_to(places.root).parts[0] for path in paths}


def test_a_dataset_of_another_pipeline_stays(shop: Pipeline) -> None:
    places = Places.of(shop)
    other = Places(places.root, "other")
    facts = {"path": places.dataset(orders.FIRST).relative_to(places.root).as_posix()}
    before = unneeded(places, 1)
    champion = champions.current(places)
    assert champion is not None
    serves_first = champion.champion.window == orders.FIRST
    write_json(other.window("2020-01-06") / DATASET, {**facts, "parent": None})
    after = unneeded(places, 1)
    assert set(before) - set(after) <= {places.dataset(orders.FIRST)}
    assert places.dataset(orders.FIRST) not in after
    assert serves_first or places.dataset(orders.FIRST) in before
    (other.window("2020-01-06") / DATASET).unlink()


def test_the_shift_of_the_champions_scores_is_noted(shop: Pipeline) -> None:
    first, second = status(shop, date(2023, 12, 20))["windows"]
    assert SCORES not in first["health"]
    assert 0 <= second["health"][SCORES] < 1


def test_what_goes_and_what_stays(shop: Pipeline) -> None:
    places = Places.of(shop)
    assert prune(shop, keep=2, dry=False) == []
    planned = prune(shop, keep=1, dry=True)
    assert planned
    assert all(path.exists() for path, _ in planned), "nothing goes in a dry run"
    assert names(places, [path for path, _ in planned]) >= {"runs", "recommendations", "windows"}
    assert prune(shop, keep=1, dry=False) == planned
    assert not any(path.exists() for path, _ in planned)
    assert prune(shop, keep=1, dry=False) == []
    for window in (orders.FIRST, orders.SECOND):
        decisions.replay(places, window)
    now = champions.current(places)
    assert now is not None
    for model in (now.champion, now.previous, now.anchor):
        assert model is None or champions.intact(places, model)
    assert status(shop, date(2023, 12, 20))["alarms"] == []
    assert deliver(shop, shop.window(orders.SECOND))["skipped"]
    assert len(list((places.lists / "latest").glob("part-*.parquet"))) == 1


def test_the_newest_window_and_a_run_under_way_are_left_alone(shop: Pipeline) -> None:
    with pytest.raises(ConfigError, match="the newest window"):
        prune(shop, keep=0, dry=False)
    with locked(shop), pytest.raises(BusyError):
        prune(shop, keep=1, dry=False)


def test_what_cannot_be_removed_is_named(
    shop: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    (tmp_path / "model").mkdir()
    (tmp_path / "lists.parquet").touch()
    monkeypatch.setattr(Path, "rename", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    for name in ("model", "lists.parquet"):
        monkeypatch.setattr(pruning, "unneeded", lambda *_, name=name: [tmp_path / name])
        with pytest.raises(PipelineError, match=f"{name}: cannot write there .Read-only"):
            prune(shop, keep=1, dry=False)
