"""The guide's ten commands from the demo to a schedule, on the demo's own purchases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from falconer.pipelines.files import read_json
from tests.support.documents import execute

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "retraining.md"
LEFT_TO_US = re.compile(r"^<!-- not executed: .* a slow test does it -->\n", re.M)


def section() -> str:
    """The text of `From the demo to a schedule`."""
    text = GUIDE.read_text(encoding="utf-8")
    return text.partition("## From the demo to a schedule\n")[2].partition("\n## ")[0]


def test_it_is_ten_commands() -> None:
    commands = re.findall(r"^(?:make|falconer) .*$", section(), re.M)
    assert len(commands) == 10
    assert (commands[0], commands[-1]) == ("make demo", "falconer schedule groceries.toml")
    assert len(LEFT_TO_US.findall(section())) == 3


@pytest.mark.slow
def test_they_work(tmp_path: Path) -> None:
    guide = tmp_path / "guide.md"
    guide.write_text(LEFT_TO_US.sub("", section()), encoding="utf-8")
    folder = tmp_path / "clean"
    folder.mkdir()
    assert execute(guide, folder) == 4
    windows = folder / "retraining" / "windows" / "groceries"
    outcomes = [read_json(windows / day / "decision.json") for day in ("2017-12-11", "2017-12-18")]
    assert [one["outcome"] for one in outcomes] == ["promote", "keep"]
    champion = read_json(folder / "retraining" / "registry" / "groceries" / "champion.json")
    assert champion["champion"]["window"] == "2017-12-11"
