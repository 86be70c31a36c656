from __future__ import annotations

import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.models.saved import hash_of
from falconer.workflows.retraining import champions, decisions, lock, notify, schedule, signing
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places
from falconer.workflows.retraining.status import status

VALUES: dict[str, Any] = {
    "name": "shop",
    "start": "2026-01-05",
    "data": {"recipe": "orders.toml"},
    "models": {"challengers": ["item_knn"]},
}


def pipeline(root: Path, **changes: Any) -> Pipeline:
    return parse(Pipeline, {**VALUES, "root": str(root), **changes}, "here")


def judged(places: Places, window: str) -> Model:
    run = places.runs / f"run-{window}"
    (run / "model").mkdir(parents=True)
    (run / "model" / "weights.npz").write_bytes(window.encode())
    relative = run.relative_to(places.root).as_posix()
    model = Model(label="item_knn", run=relative, sha256=hash_of(run / "model"), window=window)
    folder = places.judged(window, "item_knn")
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(model.model_dump_json())
    return model


def succeed(places: Places, model: Model, decision: str) -> champions.Champion | None:
    """`model` promoted by a verdict against who serves; returns who serves then."""
    now = champions.current(places)
    champions.succeed(
        places,
        model,
        decision=decision,
        judged_against=now.champion if now else None,
        moves_anchor=False,
    )
    return champions.current(places)


def test_succession_is_kept_and_the_same_decision_counts_once(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    first, second = (judged(places, day) for day in ("2026-01-05", "2026-01-12"))
    succeed(places, first, "a")
    after = succeed(places, second, "b")
    assert succeed(places, second, "b") == after
    assert after is not None
    assert (after.champion, after.previous, after.anchor) == (second, first, first)
    assert [line["decision"] for line in champions.history(places)] == ["a", "b"]


def test_a_kill_between_the_record_and_the_change_is_healed_by_the_same_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path, "shop")
    first, second = (judged(places, day) for day in ("2026-01-05", "2026-01-12"))
    succeed(places, first, "a")

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(champions, "write_json", kill)
        with pytest.raises(KeyboardInterrupt):
            succeed(places, second, "b")
    now = champions.current(places)
    assert now is not None
    assert now.champion == first
    healed = succeed(places, second, "b")
    assert healed is not None
    assert healed.champion == second
    assert champions.differences(places) == []
    before = champions.rollback(places, reason="no")
    assert succeed(places, second, "b") == before, "an order that came since stands"


def test_a_person_promotes_and_goes_back_and_it_is_signed(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    first, second = (judged(places, day) for day in ("2026-01-05", "2026-01-12"))
    succeed(places, first, "a")
    assert champions.promote(places, "2026-01-12", "item_knn", reason="why").champion == second
    assert champions.rollback(places, reason="no").champion == first
    assert [line.get("reason") for line in champions.history(places)] == [None, "why", "no"]


def test_a_verdict_does_not_undo_an_order_that_came_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was made against the champion of before, and says nothing of the one that is now."""
    places = Places(tmp_path, "shop")
    days = ("2026-01-05", "2026-01-12", "2026-01-19")
    first, _, third = (judged(places, day) for day in days)
    succeed(places, first, "a")
    ordered = champions.promote(places, "2026-01-12", "item_knn", reason="why")
    champions.succeed(places, third, decision="c", judged_against=first, moves_anchor=True)
    assert champions.current(places) == ordered
    assert "item_knn of window 2026-01-19 does not serve" in capsys.readouterr().err
    assert not champions.was_followed(places, "c")


def test_of_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    succeed(places, judged(places, "2026-01-05"), "a")
    reasons = [f"order {number}" for number in range(24)]

    def order(reason: str) -> None:
        champions.promote(places, "2026-01-05", "item_knn", reason=reason)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(order, reasons))
    found = [str(one.get("reason")) for one in champions.history(places)][1:]
    assert sorted(found) == sorted(reasons)


def test_a_changed_history_is_found(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    succeed(places, judged(places, "2026-01-05"), "a")
    path = places.registry / champions.HISTORY
    path.write_text(path.read_text().replace("item_knn", "ease"))
    with pytest.raises(ArtifactError, match="changed by hand"):
        champions.history(places)


@pytest.mark.parametrize("damage", [None, "{", "{}", '{"champion": 3}'], ids=str)
def test_a_champion_that_is_gone_or_damaged_is_put_back(
    damage: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = Places(tmp_path, "shop")
    for day, decision in (("2026-01-05", "a"), ("2026-01-12", "b")):
        succeed(places, judged(places, day), decision)
    path = places.registry / champions.CHAMPION
    before = path.read_bytes()
    path.unlink() if damage is None else path.write_text(damage)
    now = champions.current(places)
    assert now is not None
    assert now.champion.window == "2026-01-12"
    assert path.read_bytes() == before
    wrong = "gone" if damage is None else "damaged"
    assert f"champion.json was {wrong}" in capsys.readouterr().err
    path.write_text("{")
    (alarm,) = status(pipeline(tmp_path), date(2026, 2, 1))["alarms"]
    assert "item_knn of window 2026-01-12 serves" in alarm
    assert champions.mend(places) == []


def test_what_was_never_recorded_is_not_put_back(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    assert champions.current(places) is None
    places.registry.mkdir(parents=True)
    (places.registry / champions.CHAMPION).write_text("{")
    with pytest.raises(ArtifactError, match="no change of it is recorded"):
        champions.current(places)


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_order_needs_a_reason(reason: str, tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    judged(places, "2026-01-05")
    with pytest.raises(ConfigError, match="say why"):
        champions.promote(places, "2026-01-05", "item_knn", reason=reason)
    assert champions.history(places) == []


def test_a_window_without_a_verdict_is_named(tmp_path: Path) -> None:
    for read in (decisions.read, decisions.replay):
        with pytest.raises(ArtifactError, match="2026-01-05: this window is not decided"):
            read(Places(tmp_path, "shop"), "2026-01-05")


def test_a_damaged_model_is_not_promoted(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    model = judged(places, "2026-01-05")
    (places.root / model.run / "model" / "weights.npz").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="not those that were judged"):
        champions.promote(places, "2026-01-05", "item_knn", reason="why")
    assert champions.current(places) is None


def test_going_back_needs_somewhere_to_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model before"):
        champions.rollback(Places(tmp_path, "shop"), reason="why")


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    key, path = signing.key_of(places), places.registry / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.key_of(places) == key
    path.chmod(0o644)
    with pytest.raises(ArtifactError, match="others can read"):
        signing.key_of(places)


def test_only_one_process_at_a_time(tmp_path: Path) -> None:
    shop = pipeline(tmp_path)
    with (
        lock.locked(shop),
        pytest.raises(lock.BusyError, match="another process"),
        lock.locked(shop),
    ):
        pass


def test_windows_by_name_and_by_clock(tmp_path: Path) -> None:
    shop = pipeline(tmp_path)
    assert shop.newest(date(2026, 1, 19)).name == "2026-01-12"
    assert shop.newest(date(2026, 1, 18)).name == "2026-01-05"
    with pytest.raises(ConfigError, match="no window is over"):
        shop.newest(date(2026, 1, 11))
    with pytest.raises(ConfigError, match="one begins on 2026-01-12"):
        shop.window("2026-01-14")
    named = [window.name for window in shop.between(date(2026, 1, 6), date(2026, 1, 19))]
    assert named == ["2026-01-12", "2026-01-19"]


def windows_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the windows that the schedule will have run, none of which is in truth."""
    ran: list[str] = []

    def run(_: Pipeline, window: Any) -> dict[str, str]:
        ran.append(window.name)
        return {"outcome": "keep", "reason": "none"}

    monkeypatch.setattr(schedule, "told", run)
    monkeypatch.setattr(schedule, "_wait_until", lambda *_: None)
    return ran


def test_missed_windows_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three weeks pass while the process is away: the newest window is run, the others are not."""
    moments = iter([datetime(2026, 1, 13, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC)])
    ran = windows_run(monkeypatch)
    last = datetime(2026, 2, 3, tzinfo=UTC)
    clock = {"now": last}

    def now() -> datetime:
        clock["now"] = next(moments, last)
        return clock["now"]

    schedule.serve(lambda: pipeline(tmp_path), now=now, times=2)
    assert ran == ["2026-01-05", "2026-01-26"]


def test_a_failed_window_does_not_end_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ArtifactError("the disk is gone")

    monkeypatch.setattr(schedule, "told", fail)
    monkeypatch.setattr(schedule, "_wait_until", lambda *_: None)
    schedule.serve(lambda: pipeline(tmp_path), times=2)
    assert capsys.readouterr().err.count("the disk is gone") == 2


def test_an_edit_of_the_pipeline_file_counts_from_the_next_time_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the file cannot be read, nothing is run, and the schedule stays."""
    today = datetime(2026, 1, 20, tzinfo=UTC)
    files: list[Pipeline | ConfigError] = [
        pipeline(tmp_path),
        pipeline(tmp_path),
        ConfigError("shop.toml: k: not a number"),
        pipeline(tmp_path, start="2026-01-08"),
    ]

    def load() -> Pipeline:
        found = files.pop(0)
        if isinstance(found, ConfigError):
            raise found
        return found

    ran = windows_run(monkeypatch)
    schedule.serve(load, now=lambda: today, times=3)
    assert ran == ["2026-01-12", "2026-01-08"]
    assert "nothing is run: shop.toml: k: not a number" in capsys.readouterr().err


def test_the_webhook_and_the_command_hear_the_same(tmp_path: Path) -> None:
    heard: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    file = tmp_path / "told.json"
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.handle_request).start()
        hook = f"http://127.0.0.1:{server.server_port}/"
        settings = {"webhook": hook, "command": ["tee", str(file)]}
        notify.tell(pipeline(tmp_path, notify=settings), {"window": "w", "outcome": "keep"})
    assert heard == [json.loads(file.read_text())] == [{"window": "w", "outcome": "keep"}]


def test_nobody_listening_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"webhook": "http://127.0.0.1:9/", "command": ["false"]}
    notify.tell(pipeline(tmp_path, notify=settings), {"window": "w"})
    assert "nobody was told of w" in capsys.readouterr().err
