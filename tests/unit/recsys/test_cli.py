"""The `falconer` command: one clear message and the right exit code whatever happens."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from falconer.pipelines.errors import DataError
from falconer.workflows import cli

COMMANDS = (
    *("etl", "train", "tune", "recommend", "predict", "evaluate", "models", "compare", "export"),
    *("demo", "ui", "doctor"),
)
FALCONER = [sys.executable, "-m", "falconer.workflows.cli"]


def command_that(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Make `falconer act` do `action`."""
    app = typer.Typer()
    app.command("act")(action)
    app.command("rest")(lambda: None)
    monkeypatch.setattr(cli, "build", lambda: app)


def test_help_shows_the_commands_in_the_order_of_their_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    first, *others = (f"│ {name} " for name in COMMANDS)  # a description may say "train", too
    places = [text.index(sign) for sign in ("─ Data ─", first, "─ Models ─", *others)]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, "--help"]) == 0
    assert f"Example: falconer {command}" in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("falconer 0.")


@pytest.mark.parametrize(
    "arguments", [["fly"], ["etl"], ["etl", "--wrong"], ["ui", "--port", "many"]], ids=" ".join
)
def test_a_wrong_use_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_argument_shows_the_help() -> None:
    found = subprocess.run(FALCONER, capture_output=True, text=True, check=False)
    assert "etl" in found.stdout + found.stderr
    assert found.returncode in (0, 2)


def test_what_the_user_can_mend_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        raise DataError("purchases.csv: row 3: user is null; fill it or leave the row out")

    command_that(monkeypatch, act)
    assert cli.run(["act"]) == 2
    assert (
        capsys.readouterr().err
        == "error: purchases.csv: row 3: user is null; fill it or leave the row out\n"
    )


def test_a_defect_is_one_line_and_1_and_its_traceback_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def act() -> None:
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command_that(monkeypatch, act)
    assert cli.run(["act"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: of nothing" in line
    assert "defect" in line
    (log,) = tmp_path.iterdir()
    assert str(log) in line
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "runs/x/model"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        MemoryError("Unable to allocate 8 GiB"),
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory: you tried"),
    ],
    ids=str,
)
def test_what_ran_out_is_named_and_2(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        raise error

    command_that(monkeypatch, act)
    assert cli.run(["act"]) == 2
    text = capsys.readouterr().err
    assert "give the same command again" in text
    assert len(text.splitlines()) == 1


def test_work_goes_on_where_the_output_is_closed(tmp_path: Path) -> None:
    program = (
        "import sys, typer\nfrom pathlib import Path\nfrom falconer.workflows import cli\n"
        "from falconer.pipelines.console import say\napp = typer.Typer()\n"
        "@app.command()\ndef act():\n"
        "    for _ in range(20_000):\n        say('a line of output')\n"
        f"    typer.echo('more')\n    Path({str(tmp_path / 'done')!r}).touch()\n"
        "cli.build = lambda: app\nsys.argv = ['falconer']\ncli.main()\n"
    )
    found = subprocess.run(
        [
            "bash",
            "-c",
            f'{sys.executable} -c "$0" 2>&1 | head -1; exit ${{PIPESTATUS[0]}}',
            program,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.returncode) == ("a line of output\n", 0)
    assert (tmp_path / "done").exists()


def test_an_interruption_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        raise KeyboardInterrupt

    command_that(monkeypatch, act)
    assert cli.run(["act"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; nothing half-written is left"


def test_an_exit_code_of_a_command_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> None:
        raise typer.Exit(7)

    command_that(monkeypatch, act)
    assert cli.run(["act"]) == 7
    assert cli.run(["rest"]) == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_a_real_signal(sent: signal.Signals) -> None:
    program = (
        "import typer\nfrom falconer.workflows import cli\napp = typer.Typer()\n"
        "@app.command()\ndef act():\n    import time\n    print('ready', flush=True)\n    "
        "time.sleep(60)\n"
        "cli.build = lambda: app\ncli.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(sent)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.strip() == "interrupted; nothing half-written is left"


def test_a_closed_pipe_is_quiet() -> None:
    program = (
        "import typer\nfrom falconer.workflows import cli\napp = "
        "typer.Typer()\n@app.command()\ndef act():\n    for _ in range(100_000):\n        print('a "
        "line', flush=True)\ncli.build = lambda: app\ncli.main()\n"
    )
    command = f'{sys.executable} -c "$0" | head -1'
    found = subprocess.run(
        ["bash", "-c", command, program], capture_output=True, text=True, check=False
    )
    assert found.stdout == "a line\n"
    assert found.stderr == ""


def test_a_wrong_recipe_is_one_message(tmp_path: Path) -> None:
    command = [*FALCONER, "etl", "complete-jurney", "--out", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "did you mean 'complete-journey'?" in found.stderr
    assert "Traceback" not in found.stderr


LONG = "x" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "popularity", "--data", LONG],
        ["recommend", LONG],
        ["compare", LONG],
        ["data-card", LONG],
        ["evaluate", LONG, "--data", "."],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_path_that_no_file_system_takes_is_named_in_short(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    text = capsys.readouterr().err
    assert "xxx...: no path that can be (File name too long)" in text
    assert len(text) < 300
