"""The commands of the ground floor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name (complete-journey, ml-1m, ...) or the path of a .toml file.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where datasets are kept.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a value of the recipe, in TOML; repeatable."
    ),
]


@app.command()
def etl(recipe: RecipeArgument, out: OutOption = Path("data"), overrides: SetOption = None) -> None:
    """Build a dataset from raw interactions; prints its directory last.

    A dataset that is there already, made from the same files by the same recipe, is not built
    again.

    Example: falconer etl complete-journey --out data --set split.test_days=14
    """
    from falconer.pipelines import stages
    from falconer.pipelines.console import say_written

    say_written(stages.etl(stages.load_recipe(recipe, overrides or []), out))
