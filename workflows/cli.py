"""The `falconer` command: every floor's commands under one name.

Exit codes: 0 done; 2 the user can mend it (a wrong option, recipe, file or environment); 1 a
defect; 130 interrupted.
"""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from typing import Annotated

import typer

from falconer.pipelines.errors import PipelineError

COMMANDS = {
    "Data": ("falconer.pipelines.cli:app",),
    "Models": ("falconer.recsys.cli:app",),
    "Everything at once": ("falconer.workflows.demo:demo",),
    "This machine": ("falconer.workflows.ui:ui", "falconer.workflows.doctor:doctor"),
}
"""Heading in the help -> Typer applications and single commands that stand below it, in the order
of their use.

They are strings so that no floor's commands are an import edge of this module. The modules import
nothing heavy.
"""

INTERRUPTED = 130


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

    A request to end from the system (SIGTERM) is treated as Ctrl-C, so that it too leaves nothing
    half-written.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Nothing but the end of the process comes out of
    here."""
    try:
        build()(arguments, prog_name="falconer")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except PipelineError as error:
        _complain(f"error: {error}")
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception:
        _complain(traceback.format_exc().rstrip())
        _complain(
            "This is a defect of falconer, not of your data: please report it with the lines above."
        )
        code = 1
    if code == INTERRUPTED:
        _complain("interrupted; nothing half-written is left")
    return code


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
