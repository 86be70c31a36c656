"""The guide's ten commands from the demo to a schedule, as they are written: on a quarter of the
households and one recommender, and the slow one on everything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from falconer.pipelines.etl.sources.complete_journey import PACKAGE, CompleteJourney
from falconer.pipelines.files import read_json
from falconer.workflows.retraining.pipeline import INTERRUPTED
from tests.support.documents import execute

ROOT = Path(__file__).resolve().parents[3]
LEFT_TO_US = re.compile(r"^<!-- not executed: .* -->\n", re.M)
SCHEDULE = "falconer schedule groceries.toml"
ONE_MODEL = f"""#!{sys.executable} -P
from falconer.workflows import demo
from falconer.workflows.cli import main

demo.MODELS = ("popularity",)
main()
"""


def section() -> str:
    """The text of `From the demo to a schedule`."""
    text = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")
    return text.partition("## From the demo to a schedule\n")[2].partition("\n## ")[0]


@dataclass(frozen=True)
class Checkout:
    """A folder in which the guide's commands run; `whole` as a reader's, else in small."""

    folder: Path
    whole: bool

    def prepare(self) -> None:
        """What `make` needs, the set-up apart, which has tests of its own."""
        (self.folder / "scripts").mkdir(parents=True)
        (self.folder / ".venv" / "bin").mkdir(parents=True)
        (self.folder / "Makefile").symlink_to(ROOT / "Makefile")
        _program(self.folder / "scripts" / "setup", "#!/bin/sh\n")
        command = self.folder / ".venv" / "bin" / "falconer"
        if self.whole:
            command.symlink_to(Path(sys.executable).with_name("falconer"))
        else:
            _program(command, ONE_MODEL)
            self._write_purchases()

    def _write_purchases(self) -> None:
        """Those of a quarter of the households, in a package that stands before the true one."""
        data = self.folder / "packages" / PACKAGE / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        for name, path in CompleteJourney(kind="complete_journey").files().items():
            if name == "transactions.parquet":
                few = pl.col("household_id").cast(pl.Int64) % 4 == 0
                pl.scan_parquet(path).filter(few).sink_parquet(data / name)
            else:
                shutil.copyfile(path, data / name)

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The ten commands. The last one stays until it is stopped, so it is, when it waits."""
        monkeypatch.setenv("PYTHONPATH", str(self.folder / "packages"))
        before, schedule, _ = LEFT_TO_US.sub("", section()).partition(f"```sh\n{SCHEDULE}")
        assert schedule
        guide = self.folder / "guide.md"
        guide.write_text(before, encoding="utf-8")
        assert execute(guide, self.folder, seconds=1200) == 5
        self._schedule()

    def _schedule(self) -> None:
        log = self.folder / "schedule.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("falconer"), *SCHEDULE.split()[1:]],
                cwd=self.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=stream,
                stderr=stream,
            )
        end = time.monotonic() + 300
        while not re.search(": refused: ", log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        process.terminate()
        assert process.wait(30) == INTERRUPTED

    def outcomes(self) -> list[str]:
        """Of the windows, oldest first."""
        windows = sorted((self.folder / "retraining" / "windows" / "groceries").iterdir())
        return [read_json(window / "decision.json")["outcome"] for window in windows]


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_it_is_ten_commands() -> None:
    commands = re.findall(r"^(?:make|falconer) .*$", section(), re.M)
    assert len(commands) == 10
    assert (commands[0], commands[-1]) == ("make demo", SCHEDULE)


@pytest.mark.timeout(1200)  # half a minute of work in a dozen processes, on whatever is free
@pytest.mark.parametrize(
    "whole",
    [pytest.param(False, id="in small"), pytest.param(True, id="whole", marks=pytest.mark.slow)],
)
def test_they_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool) -> None:
    checkout = Checkout(tmp_path / "clean", whole)
    checkout.prepare()
    checkout.run(monkeypatch)
    assert (checkout.folder / "runs" / "demo.html").is_file()
    first, second, last = checkout.outcomes()
    assert last == "refused", "the purchases have ended"
    if whole:
        assert (first, second) == ("promote", "keep")
        registry = checkout.folder / "retraining" / "registry" / "groceries"
        assert read_json(registry / "champion.json")["champion"]["window"] == "2017-12-11"
