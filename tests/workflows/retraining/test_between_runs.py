"""What people and data do between and beside the runs of a pipeline: days come late, files are
edited, orders are given, folders move."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines.errors import ArtifactError, ConfigError, ExhaustedError
from falconer.pipelines.files import read_json, write_json
from falconer.workflows.retraining import champions, database, decisions, signing, steps, store
from falconer.workflows.retraining.config import Notify, Pipeline
from falconer.workflows.retraining.pipeline import let_run_again, retrain
from falconer.workflows.retraining.places import DECISION, EVIDENCE, MODEL, Places
from falconer.workflows.retraining.status import status
from tests.support import orders

TODAY = date(2023, 12, 20)
LATE_DAY = date(2023, 12, 14)


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline whose first window is decided; it is only copied."""
    folder = tmp_path_factory.mktemp("between-runs")
    orders.write(folder)
    first = orders.pipeline(folder, recommend={"k": 5})
    assert retrain(first, first.window(orders.FIRST))["outcome"] == "promote"
    return folder


@pytest.fixture
def shop(decided: Path, tmp_path: Path) -> Pipeline:
    """The pipeline, moved to a folder of its own."""
    shutil.copytree(decided, tmp_path / "shop", symlinks=True)
    (tmp_path / "shop" / "orders.toml").write_text(orders.RECIPE.format(folder=tmp_path / "shop"))
    return orders.pipeline(tmp_path / "shop", recommend={"k": 5})


def second(shop: Pipeline) -> dict[str, Any]:
    return retrain(shop, shop.window(orders.SECOND))


def serving(shop: Pipeline) -> champions.Model:
    now = champions.current(Places.of(shop))
    assert now is not None
    return now.champion


def fail(*_: object) -> dict[str, Any]:
    raise ExhaustedError("the disk is full")


def without(shop: Pipeline, day: date) -> Callable[[], None]:
    """Take a day's orders away; returns what brings them back."""
    path = shop.root.parent / "orders.csv"
    before = path.read_text()
    head, *rows = csv.reader(before.splitlines())
    kept = [row for row in rows if datetime.fromtimestamp(int(row[2]), UTC).date() != day]
    path.write_text("\n".join(map(",".join, [head, *kept])) + "\n")

    def come() -> None:
        path.write_text(before)

    return come


def test_a_day_that_comes_late_refuses_the_window_until_it_is_there(shop: Pipeline) -> None:
    come = without(shop, LATE_DAY)
    refused = second(shop)
    assert refused["outcome"] == "refused"
    assert f"no event on {LATE_DAY}, usually" in refused["reason"]
    come()
    assert second(shop) == refused, "a decision stands until somebody sets it aside"
    let_run_again(shop, shop.window(orders.SECOND))
    again = second(shop)
    assert again["outcome"] in {"promote", "keep", "undecidable"}
    (kept,) = (Places.of(shop).window(orders.SECOND) / decisions.SET_ASIDE).iterdir()
    assert read_json(kept / DECISION)["reason"] == refused["reason"]
    decisions.replay(Places.of(shop), orders.SECOND)
    assert status(shop, TODAY)["alarms"] == []


def test_a_refusal_whose_window_may_not_run_is_left_alone(shop: Pipeline) -> None:
    without(shop, LATE_DAY)
    second(shop)
    places = Places.of(shop)
    later = places.judged("2023-12-19", "later")
    write_json(later / MODEL, serving(shop).model_dump() | {"window": "2023-12-19"})
    champions.promote(places, "2023-12-19", "later", reason="a test")
    with pytest.raises(ConfigError, match="has seen what happened here"):
        let_run_again(shop, shop.window(orders.SECOND))
    assert decisions.read(places, orders.SECOND)["outcome"] == "refused"


def test_what_was_cut_off_behind_a_refusal_does_not_go_on_with_it(shop: Pipeline) -> None:
    come = without(shop, LATE_DAY)
    second(shop)
    places = Places.of(shop)
    name = f"shop-{orders.SECOND}-1"
    orders.cut_off(places.registry / database.FILE, name)
    come()
    let_run_again(shop, shop.window(orders.SECOND))
    assert not (places.window(orders.SECOND) / EVIDENCE).exists()
    assert second(shop)["outcome"] in {"promote", "keep", "undecidable"}
    assert {one.id: one.status for one in database.workflows(shop)}[name] == "CANCELLED"


def test_a_window_that_is_not_decided_has_nothing_to_set_aside(shop: Pipeline) -> None:
    """The run that set it aside was cut off: the same command goes on."""
    let_run_again(shop, shop.window(orders.SECOND))
    assert not Places.of(shop).window(orders.SECOND).exists()


def test_what_was_judged_is_not_judged_again(shop: Pipeline) -> None:
    """Another look at the same users is another test, which nobody has paid for."""
    with pytest.raises(ConfigError, match=r"decided as promote; only a window whose data were"):
        let_run_again(shop, shop.window(orders.FIRST))
    assert (Places.of(shop).window(orders.FIRST) / DECISION).exists()


def test_no_day_is_judged_on_twice(shop: Pipeline) -> None:
    """Where an edit of `start` lets windows overlap."""
    moved = shop.model_copy(update={"start": date(2023, 12, 8)})
    with pytest.raises(ConfigError, match=rf"some of its days are of window {orders.FIRST}"):
        retrain(moved, moved.window("2023-12-08"))


def test_what_an_edit_mends_is_not_tried_again_as_it_was(
    shop: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed for its memory goes on with the file of now, not the stored one."""
    places = Places.of(shop)
    greedy = shop.model_copy(
        update={"models": shop.models.model_copy(update={"challengers": ("no/such",)})}
    )
    with pytest.raises(ConfigError):
        second(greedy)
    (failed,) = database.workflows(shop, prefix=f"shop-{orders.SECOND}")
    orders.cut_off(places.registry / database.FILE, failed.id)
    assert second(shop)["outcome"] in {"promote", "keep", "undecidable"}
    assert f"{failed.id} was cut off, and the pipeline file was edited" in capsys.readouterr().err
    ended = {one.id: one.status for one in database.workflows(shop)}
    assert ended[failed.id] == "CANCELLED"


@pytest.mark.parametrize(
    ("changes", "version", "status_then"),
    [
        ({"k": 30}, database.VERSION, "CANCELLED"),
        ({"k": 30}, "0", "PENDING"),
        ({"cron": "0 4 * * *", "notify": Notify(seconds=5)}, database.VERSION, "PENDING"),
    ],
    ids=["edited", "of another version", "edited where nothing is decided"],
)
def test_only_what_an_edit_makes_outdated_is_given_up(
    changes: dict[str, Any],
    version: str,
    status_then: str,
    shop: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And where another window is run now, nobody is told that this one is."""
    monkeypatch.setattr(steps, "watch", fail)
    with pytest.raises(ExhaustedError):
        second(shop)
    (cut,) = database.workflows(shop, prefix=f"shop-{orders.SECOND}")
    file = Places.of(shop).registry / database.FILE
    orders.cut_off(file, cut.id)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("update workflow_status set application_version = ?", [version])
    store.cancel_outdated(shop.model_copy(update=changes), shop.window("2023-12-19"))
    found = database.workflows(shop, prefix=cut.id)
    assert [one.status for one in found] == [status_then]
    told = f"given up, and `falconer retrain PIPELINE --window {orders.SECOND}` begins it anew"
    assert (told in capsys.readouterr().err) == (status_then == "CANCELLED")


def test_an_order_given_while_a_window_is_judged_stands(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, crown = Places.of(shop), steps.crown

    def meanwhile(job: steps.Job, made: dict[str, Any]) -> dict[str, Any]:
        champions.promote(places, orders.FIRST, "popularity", reason="a test")
        return crown(job, {**made, "outcome": "promote", "challenger": "personal_popularity"})

    monkeypatch.setattr(steps, "crown", meanwhile)
    second(shop)
    assert (serving(shop).label, serving(shop).window) == ("popularity", orders.FIRST)
    assert [one.get("reason") for one in champions.history(places)] == [None, "a test"]


def test_who_was_made_champion_since_a_run_failed_is_who_the_next_one_judges(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places.of(shop)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "judge", fail)
        with pytest.raises(ExhaustedError):
            second(shop)
    champions.promote(places, orders.FIRST, "popularity", reason="a test")
    assert second(shop)["champion"] == "popularity"
    judged = read_json(places.judged(orders.SECOND, "champion") / MODEL)
    assert judged["label"] == "popularity"


def test_a_lost_key_is_told_before_anything_is_trained(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "watch", fail)
    (Places.of(shop).registry / "key").unlink()
    with pytest.raises(ArtifactError, match="the key is gone"):
        second(shop)


def test_a_damaged_decision_is_told_before_anything_is_trained(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "watch", fail)
    (Places.of(shop).window(orders.FIRST) / DECISION).write_text("{")
    with pytest.raises(ArtifactError, match=rf"{orders.FIRST}/decision.json: damaged; res"):
        second(shop)


def test_another_metric_has_no_usual_lift_yet(shop: Pipeline) -> None:
    """What is usual of one metric, or above one baseline, is not of another."""
    places, rule = Places.of(shop), shop.rule
    key = signing.key_of(places)
    path = places.window(orders.FIRST) / DECISION
    document = signing.verified(read_json(path), key, path)
    label, baselines = "personal_popularity", ["popularity"]
    for day in ("2023-12-12", "2023-12-19", "2023-12-26"):
        means = {"champion": 0.3, "popularity": 0.1}
        past = {**document, "window": day, "champion": label, "means": means}
        other = places.window(day) / DECISION
        other.parent.mkdir()
        other.write_text(decisions.as_text(signing.signed(past, key)))

    def usual(**changes: str) -> float | None:
        changed = rule.model_copy(update=changes)
        return decisions.usual_lift(places, "2024-01-02", label, changed, baselines)

    assert usual() == pytest.approx(3)
    assert usual(metric="recall@10") is usual(view="unseen") is None
    assert decisions.usual_lift(places, "2024-01-02", label, rule, ["popularity", "ease"]) is None
