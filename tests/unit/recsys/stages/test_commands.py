"""The commands' last line, settings, help and start-up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.workflows.cli import build

app = build()
FRAMEWORKS = ("torch", "tensorflow", "merlin", "nvtabular", "cudf", "implicit", "mlflow")


def test_commands_end_with_the_path_that_they_wrote(board: Dataset, tmp_path: Path) -> None:
    def last_line(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout.splitlines()[-1]

    run = last_line(
        "train",
        "ease",
        "--data",
        str(board.path),
        "--runs",
        str(tmp_path / "r"),
        "--set",
        "model.l2=7.0",
    )
    assert Path(run).parent == tmp_path / "r"
    assert "l2 = 7.0" in (Path(run) / "config.toml").read_text()
    assert last_line("recommend", run, "--k", "5", "--set", "block_mb=16", "--view", "novel") == run
    out = str(tmp_path / "judged")
    assert (
        last_line("evaluate", run, "--k", "1", "--k", "5", "--set", "resamples=100", "--out", out)
        == out
    )
    report = json.loads((tmp_path / "judged" / "novel" / "report.json").read_text())
    assert (report["k"], report["resamples"], report["label"]) == ([1, 5], 100, "ease")
    assert not (Path(run) / "novel" / "report.json").exists()
    page = str(tmp_path / "page.html")
    assert (
        last_line("compare", out, "--out", page, "--metric", "ndcg@5", "--data", str(board.path))
        == page
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["recommend", "RUN", "--set", "blok_mb=1"],
            "blok_mb: unknown key; did you mean 'block_mb'",
        ),
        (["recommend", "RUN", "--k", "0"], "k: input should be greater than or equal to 1"),
        (["evaluate", "RUN", "--k", "0"], "k: needs at least one cut-off"),
        (["evaluate", "RUN", "--set", "level=2"], "level: input should be less than 1"),
    ],
)
def test_wrong_settings_name_what_is_wrong(
    judged_run: Path, arguments: list[str], message: str
) -> None:
    given = [str(judged_run) if argument == "RUN" else argument for argument in arguments]
    done = CliRunner().invoke(app, given)
    assert isinstance(done.exception, ConfigError)
    assert message in str(done.exception)


@pytest.mark.parametrize("command", ["train", "recommend", "evaluate", "compare"])
def test_every_command_has_an_example(command: str) -> None:
    help_text = CliRunner().invoke(app, [command, "--help"]).stdout
    assert f"Example: falconer {command} " in " ".join(help_text.split())


def test_evaluate_loads_no_framework(judged_run: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from falconer.recsys.cli import "
        f"app\nassert not (loaded := {set(FRAMEWORKS)} | {{'numpy', 'pyarrow'}}) & "
        "set(sys.modules), loaded\ndone = CliRunner().invoke(app, ['evaluate', "
        f"{str(judged_run)!r}], catch_exceptions=False)\nassert done.exit_code == "
        f"0\nprint(sorted({set(FRAMEWORKS)} & "
        f"{{name.partition('.')[0] for name in sys.modules}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
