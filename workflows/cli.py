"""The `falconer` command: every floor's commands under one name.

Exit codes: 0 done; 2 the user can mend it (a wrong option, recipe, file or environment); 1 a
defect; 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import tempfile
import traceback
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from falconer.pipelines.console import outlive_readers, printable, warn
from falconer.pipelines.errors import PipelineError
from falconer.pipelines.exhaustion import named
from falconer.pipelines.extras import is_optional, missing

COMMANDS = {
    "Data": ("falconer.pipelines.cli:app",),
    "Models": (
        "falconer.recsys.cli:app",
        "falconer.workflows.wings:compare",
        "falconer.workflows.wings:export",
    ),
    "Pictures": ("falconer.vision.cli:app",),
    "On a schedule": ("falconer.workflows.retraining.cli:app",),
    "Everything at once": ("falconer.workflows.demo:demo",),
    "This machine": ("falconer.workflows.ui:ui", "falconer.workflows.doctor:doctor"),
}
"""Heading in the help -> Typer applications and single commands that stand below it, in the order
of their use.

They are strings so that no floor's commands are an import edge of this module. The modules import
nothing heavy.
"""

INTERRUPTED = 130
LONGEST_SHOWN = 100
"""Characters of a path that is too long."""


def build() -> typer.Typer:
    """The whole command line as one Typer application."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_falconer)
    for heading, addresses in COMMANDS.items():
        for address in addresses:
            _mount(app, address, heading)
    return app


def _mount(app: typer.Typer, address: str, heading: str) -> None:
    """Add the command, or each command and group of the application, at "module:attribute" to `app`
    below `heading`."""
    module, _, attribute = address.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        app.command(rich_help_panel=heading)(found)
        return
    for command in found.registered_commands:
        command.rich_help_panel = heading
    for group in found.registered_groups:
        group.rich_help_panel = heading
    app.registered_commands.extend(found.registered_commands)
    app.registered_groups.extend(found.registered_groups)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        from importlib.metadata import version

        typer.echo(f"falconer {version('falconer')}")
        raise typer.Exit


VERSION = typer.Option(
    "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
)


def _falconer(*, version: Annotated[bool, VERSION] = False) -> None:
    """From raw interaction logs to recommendations that someone can trust."""


def main() -> None:
    """Run the command line, and end with one clear message and the right exit code whatever
    happens.

    A request to end from the system (SIGTERM, or SIGHUP of a closed terminal) is treated as Ctrl-C,
    so that it too leaves nothing half-written.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    # The processes that this one starts do not take code from the working folder either.
    os.environ["PYTHONSAFEPATH"] = "1"
    outlive_readers()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Nothing but the end of the process comes out of
    here."""
    try:
        # Not standalone: Typer's own messages would hold arguments as they came.
        code = build()(arguments, prog_name="falconer", standalone_mode=False) or 0
    except TyperException as error:
        code = _refused(error)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except PipelineError as error:
        warn(f"error: {error}")
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        lacking = is_optional(error.name)
        command = f"falconer {' '.join(arguments[:1])}"
        warn(f"error: {missing(str(error.name), command) if lacking else _defect(error)}")
        code = 2 if lacking else 1
    except Exception as error:
        found = named(error) or _no_path(error)
        warn(f"error: {found}" if found else _defect(error))
        code = 2 if found else 1
    if code == INTERRUPTED:
        warn("interrupted; nothing half-written is left")
    return code


def _no_path(error: Exception) -> str | None:
    """What to say of a path that no file system takes; None where the error is another one."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        return None
    name = str(error.filename)
    shown = name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..."
    return f"{shown}: no path that can be ({error.strerror}); give another one"


def _refused(error: Any) -> int:
    """Show what Typer has against the arguments, without what a terminal would obey; the exit
    code."""
    from typer.rich_utils import rich_format_error

    text = printable(error.format_message())
    vars(error)["format_message"] = lambda: text
    rich_format_error(error)
    return int(error.exit_code)


def _defect(error: Exception) -> str:
    """One line on an error that nobody foresaw; its traceback goes to a file for the report."""
    reason = (str(error).splitlines() or [""])[0]
    line = f"error: {type(error).__name__}: {reason}; this is a defect of falconer"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="falconer-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(traceback.format_exc())
    except OSError:
        return f"{line}\n{traceback.format_exc().rstrip()}"
    return f"{line}: please report it with {log.name}"


if __name__ == "__main__":
    main()
