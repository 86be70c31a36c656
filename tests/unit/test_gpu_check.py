"""The check of a GPU is rehearsed on the CPU, keeps what it measured, and sees what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu_check import __main__ as check
from tests.gpu_check import etl, page, steps
from tests.gpu_check.figures import Figure, Place, figure_of

REHEARSED = ("lists", "ncf", "resnet50", "ssd300")
"""In processes, as the command runs them; `make gpu-check SMALL=1` runs all."""


def content(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.timeout(600)
def test_the_rehearsal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--small", "--out", str(tmp_path), "--only", *REHEARSED]) == 0
    said = capsys.readouterr().out
    assert said.startswith("NO GPU IN USE")
    parts = {part["name"]: part for part in content(tmp_path)["parts"]}
    assert tuple(parts) == REHEARSED
    assert parts["ncf"]["figures"][0]["beside"] == "A100: 34.1 M samples/s"
    assert parts["lists"]["figures"][0]["limit"] == 0.0
    assert content(tmp_path)["small"] is True


def test_parts_measured_apart_are_in_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(parts: Any, *_: Any) -> Any:
        yield from (check.Outcome(part.name, part.title, "done") for part in parts)

    monkeypatch.setattr(check, "check", ran)
    for chosen in (["users", "lists"], ["ncf", "users"]):
        assert check.main(["--small", "--out", str(tmp_path), "--only", *chosen]) == 0
    names = [part["name"] for part in content(tmp_path)["parts"]]
    assert names == ["lists", "users", "ncf"]


def test_the_rehearsal_of_the_etl(place: Place) -> None:
    found = {figure.what: figure for figure in etl.run(place)}
    assert all(figure.holds for figure in found.values())
    assert found["nvtabular: fit and apply"].value > 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(small=True, device="cpu", folder=tmp_path)


def test_a_step_of_every_torch_model(place: Place) -> None:
    found = list(steps.run(place))
    assert len(found) == 1 + 3 * len(steps.torch_models())
    assert [figure.what for figure in found if not figure.holds] == []


def test_a_step_that_differs_is_seen(place: Place) -> None:
    task = steps.task_of("dlrm", steps.data_for("dlrm", place.folder), place.folder / "runs")
    batch = next(task.batches.epoch(0))
    start = {name: value.clone() for name, value in steps.tensors_of(task.model).items()}
    twin = steps.moved(task, "cpu")
    steps.step(task, batch)
    steps.step(twin, batch)
    assert steps.distance(task.model, twin.model, start) == 0
    with torch.no_grad():
        next(iter(twin.model.parameters())).add_(0.01)
    assert steps.distance(task.model, twin.model, start) > steps.TOLERANCE


@pytest.mark.parametrize(("value", "holds"), [(0.5, True), (1.5, False), (float("nan"), False)])
def test_a_figure_holds_its_limit(*, value: float, holds: bool) -> None:
    figure = Figure("x", value, "", limit=1.0)
    assert figure.holds is holds
    assert figure.row()["holds"] is holds
    read = figure_of(figure.line())
    assert read is not None
    assert read.holds is holds


def test_a_part_that_takes_too_long_is_ended_and_the_next_one_runs(place: Place) -> None:
    named = {part.name: part for part in check.PARTS}
    parts = [replace(named["lists"], seconds=1.1), named["tensorflow"]]
    states = {outcome.name: outcome.state for outcome in check.check(parts, place, 300)}
    assert states == {"lists": "out of time", "tensorflow": "absent"}


def test_where_no_time_is_left_a_part_says_so(place: Place) -> None:
    (outcome,) = check.check(check.PARTS[:1], place, 0.5)
    assert outcome.state == "no time left"
    assert not check.good(outcome)


@pytest.mark.parametrize(
    ("state", "holds", "good"),
    [("done", True, True), ("done", False, False), ("failed", True, False)],
)
def test_what_makes_the_check_fail(*, state: str, holds: bool, good: bool) -> None:
    outcome = check.Outcome("x", "X", state, figures=[{"holds": holds}])
    assert check.good(outcome) is good


def test_the_parts_fit_in_the_time_by_their_order() -> None:
    assert check.SECONDS == 480
    assert [part.name for part in check.PARTS[:2]] == ["lists", "steps"]


def test_the_page_is_built_from_the_files() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.current(), "run `make gpu-page`"


def test_the_page_tells_what_broke() -> None:
    broken = Figure("loss", 2.0, "of it", limit=1.0).row()
    parts = [
        {"name": "steps", "state": "done", "message": "", "figures": [broken]},
        {"name": "etl", "state": "absent", "message": "cudf not installed", "figures": []},
    ]
    facts = {"device": "A GPU", "date": "2026-01-02", "python": "3.12", "torch": "2.11"}
    text = page.page([{**facts, "falconer": "0.1.0", "small": False, "parts": parts}])
    assert "| steps | loss | 2 of it **broken** | 1 |  |" in text
    assert "| etl | **absent** | cudf not installed | | |" in text
    assert "Nothing has run" not in text
    rehearsal = page.page([{**facts, "small": True, "parts": parts}])
    assert "Nothing has run on a GPU yet" in rehearsal
