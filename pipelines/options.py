"""Options that commands of every floor have."""

from pathlib import Path
from typing import Annotated

import typer

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one value, in TOML syntax; may be given several times.",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of run directories.")]
Tolerance = Annotated[
    float | None,
    typer.Option("--tolerance", help="Largest difference allowed; 1e-4 if left out."),
]
