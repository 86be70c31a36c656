"""Files of a pipeline that somebody changed, damaged or lost: status tells, and goes on telling the
rest."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import write_json, write_text
from falconer.workflows.retraining import champions, cli, decisions, drift, signing
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import (
    DECISION,
    FAILED,
    HISTORY,
    LAST_STEP,
    OBSERVED,
    PROFILE,
    Places,
)
from falconer.workflows.retraining.status import status
from tests.support import verdicts

TODAY = date(2020, 3, 1)
LAST = verdicts.window_name(2)


@pytest.fixture
def shop(tmp_path: Path) -> Pipeline:
    """Three decided windows, of which two promoted."""
    found = verdicts.pipeline_of(tmp_path / "retraining")
    verdicts.write_windows(Places.of(found), ["promote", "keep", "promote"])
    assert status(found, TODAY)["alarms"] == []
    return found


def windows_and_alarms(shop: Pipeline) -> tuple[list[str], list[str]]:
    found = status(shop, TODAY)
    return [one["window"] for one in found["windows"]], found["alarms"]


def test_an_edited_decision_is_not_shown_as_one(shop: Pipeline) -> None:
    path = Places.of(shop).window(LAST) / DECISION
    path.write_text(path.read_text().replace('"outcome": "promote"', '"outcome": "keep"'))
    shown, (alarm,) = windows_and_alarms(shop)
    assert len(shown) == 2
    assert f"{path}: its sha256 is not that of its content: it was changed by hand" in alarm


@pytest.mark.parametrize("text", ["{", "{}", "[]", "3", '{"outcome": "promote"}'])
@pytest.mark.parametrize("window", [LAST, verdicts.window_name(0)], ids=["last", "first"])
def test_a_damaged_decision_hides_no_other(window: str, text: str, shop: Pipeline) -> None:
    path = Places.of(shop).window(window) / DECISION
    path.write_text(text)
    shown, (alarm,) = windows_and_alarms(shop)
    assert len(shown) == 2
    assert f"{path}: damaged" in alarm


@pytest.mark.parametrize("text", ["{", "[]", '{"steps": 5}', '{"steps": [1, {}]}'])
def test_damaged_clock_times_hide_nothing(shop: Pipeline, text: str) -> None:
    places = Places.of(shop)
    (places.window(LAST) / OBSERVED).write_text(text)
    shown, alarms = windows_and_alarms(shop)
    assert (len(shown), alarms) == (3, [])
    assert not places.finished(LAST), "the last step is done once more"


def test_a_champion_put_in_by_hand_is_an_alarm(shop: Pipeline) -> None:
    places = Places.of(shop)
    path = places.registry / champions.CHAMPION
    now = json.loads(path.read_text())
    path.write_text(json.dumps({**now, "champion": now["previous"]}))
    _, (alarm,) = windows_and_alarms(shop)
    assert f"is not what {HISTORY} recorded last (item_knn of window {LAST})" in alarm


def test_a_champion_without_any_record_is_an_alarm(shop: Pipeline) -> None:
    (Places.of(shop).registry / HISTORY).unlink()
    _, (alarm,) = windows_and_alarms(shop)
    assert "recorded last (no champion)" in alarm


def test_a_list_of_verdicts_tells_the_rest(
    shop: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(
        f"""name = "shop"
root = "{shop.root}"
start = {shop.start}
data = {{ recipe = "orders.toml" }}
models = {{ challengers = ["item_knn"] }}
"""
    )
    (Places.of(shop).window(verdicts.window_name(1)) / DECISION).write_text("{")
    with pytest.raises(ArtifactError, match=f"{verdicts.window_name(1)}/decision.json: damaged"):
        cli.list_verdicts(file)
    assert [line[:10] for line in capsys.readouterr().out.splitlines()] == [
        verdicts.window_name(0),
        verdicts.window_name(2),
    ]


def test_a_verdict_that_an_order_overtook_is_an_alarm(tmp_path: Path) -> None:
    """Until the model serves by another order."""
    shop = verdicts.pipeline_of(tmp_path / "retraining")
    places = Places.of(shop)
    verdicts.write_windows(places, ["promote", "promote"])
    last = places.window(verdicts.window_name(1))
    write_json(last / OBSERVED, {"steps": [{"step": LAST_STEP, "seconds": 1, "skipped": False}]})
    assert status(shop, TODAY)["alarms"] == []
    history = places.registry / HISTORY
    history.write_text(history.read_text().splitlines(keepends=True)[0])
    (places.registry / champions.CHAMPION).unlink()
    _, alarms = windows_and_alarms(shop)
    wanted = f"new of window {verdicts.window_name(1)} was to serve and does not: {HISTORY} has no"
    assert [wanted in one for one in alarms] == [False, True]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"days": {"x": 1}}',
        '{"events": 1, "days": {"5": 1}, "distributions": {}}',
        '{"events": 1, "days": {"x": 1}, "distributions": {}}',
    ],
)
def test_a_damaged_profile_is_one_that_was_not_written(
    text: str, shop: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or an old window would block every one to come."""
    places = Places.of(shop)
    path = places.window(LAST) / PROFILE
    path.write_text(text)
    assert places.last_day(LAST) is None
    assert drift.accepted(places, "2020-03-02") == []
    assert f"{path}: damaged" in capsys.readouterr().err


def test_tests_are_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    """The first window was refused, and run again after the others: its promotion is the last."""
    places = Places.of(verdicts.pipeline_of(tmp_path / "retraining"))
    key = signing.key_of(places)
    for number, (outcome, before) in enumerate([("promote", 2), ("keep", 0), ("keep", 1)]):
        window = verdicts.window_name(number)
        made = verdicts.document(outcome, window=window) | {"tests_before": [False] * before}
        text = decisions.as_text(signing.signed(made, key))
        write_text(places.window(window) / DECISION, text)
    assert decisions.tests_before(places, verdicts.window_name(3)) == [False, False, True]


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_note_of_a_failure_hides_nothing(shop: Pipeline, text: str) -> None:
    path = Places.of(shop).window("2020-02-10") / FAILED
    path.parent.mkdir()
    path.write_text(text)
    found = status(shop, TODAY)
    assert found["failed"] == ["2020-02-10: failed, and the file that says why is damaged"]
    assert len(found["windows"]) == 3


def test_a_key_of_another_user_is_said_to_be_one(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who watches a pipeline as another user reads its files, and not its key."""

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    shown, (alarm,) = windows_and_alarms(shop)
    assert len(shown) == 3
    assert "only its owner can read this key" in alarm


@pytest.mark.parametrize("cut", [True, False], ids=["cut off", "another line"])
def test_a_damaged_history_is_an_alarm(cut: bool, shop: Pipeline) -> None:
    path = Places.of(shop).registry / HISTORY
    path.write_text(path.read_text()[:-30] if cut else path.read_text() + "[]\n")
    shown, (alarm,) = windows_and_alarms(shop)
    assert len(shown) == 3
    assert "take it from a backup" in alarm


def test_a_lost_key_is_not_replaced(shop: Pipeline) -> None:
    """Another would sign what comes, and nothing of before could be read any more."""
    places = Places.of(shop)
    key = places.registry / "key"
    bytes_of_key = key.read_bytes()
    key.unlink()
    with pytest.raises(ArtifactError, match="the key is gone"):
        decisions.read(places, LAST)
    with pytest.raises(ArtifactError, match="the key is gone"):
        champions.rollback(places, reason="a trial")
    shown, (alarm,) = windows_and_alarms(shop)
    assert len(shown) == 3
    assert "the key is gone" in alarm
    assert not key.exists()
    key.write_bytes(bytes_of_key)
    key.chmod(0o600)
    assert windows_and_alarms(shop)[1] == []
    assert signing.key_of(places) == bytes_of_key


def test_a_lost_key_is_an_alarm_before_there_is_a_champion(tmp_path: Path) -> None:
    shop = verdicts.pipeline_of(tmp_path / "retraining")
    places = Places.of(shop)
    verdicts.write_windows(places, ["keep"])
    (places.registry / HISTORY).unlink(missing_ok=True)
    (places.registry / champions.CHAMPION).unlink(missing_ok=True)
    assert windows_and_alarms(shop)[1] == []
    (places.registry / "key").unlink()
    shown, (alarm,) = windows_and_alarms(shop)
    assert len(shown) == 1
    assert "the key is gone" in alarm
