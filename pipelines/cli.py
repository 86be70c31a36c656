"""The commands of the ground floor."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from falconer.pipelines.options import Sets

app = typer.Typer(no_args_is_help=True)

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name (complete-journey, ml-1m, ...) or the path of a .toml file.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where datasets are kept.")]
AppendOption = Annotated[
    Path | None,
    typer.Option(
        "--append",
        metavar="DATASET",
        help="Read only the days that this dataset has not, and continue it.",
    ),
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        metavar="DATE",
        formats=["%Y-%m-%d"],
        help="As --append, to this recipe's dataset below DIR that ends the day before.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Processes that share the work and the memory limit; as `workers` in the recipe.",
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Scheduler of a Dask cluster that does the work, such as tcp://HOST:8786; "
        "`local-cuda`: a worker on each GPU of this machine.",
    ),
]
WindowsOption = Annotated[
    bool,
    typer.Option(
        "--windows",
        help="Build the dataset of every window of a rolling split; prints the newest one's last.",
    ),
]


@app.command()
def etl(
    recipe: RecipeArgument,
    out: OutOption = Path("data"),
    overrides: Sets = None,
    append: AppendOption = None,
    since: SinceOption = None,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    *,
    windows: WindowsOption = False,
) -> None:
    """Build a dataset from raw interactions; prints its directory last.

    A dataset that is there already, made from the same files by the same recipe, is not built
    again.

    Example: falconer etl complete-journey --out data --set split.test_days=14
    """
    from falconer.pipelines import stages
    from falconer.pipelines.console import say_written

    given = [] if workers is None else [f"workers={workers}"]
    loaded = stages.load_recipe(recipe, [*(overrides or []), *given])
    if append and since:
        raise typer.BadParameter("--append names the dataset, --since finds it: give one of them")
    if (append or since) and (workers or dask):
        raise typer.BadParameter("a day is appended by one process: leave out --workers and --dask")
    if windows and (append or since):
        raise typer.BadParameter("days are appended to one dataset: leave out --windows")
    if windows:
        for built in stages.etl_windows(loaded, out, dask=dask):
            say_written(built)
    elif since:
        say_written(stages.append_since(loaded, since.date(), out))
    elif append:
        say_written(stages.append(loaded, append, out))
    else:
        say_written(stages.etl(loaded, out, dask=dask))


@app.command()
def extract(
    query: Annotated[str, typer.Argument(metavar="SQL", help="What is read.")],
    database: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URI",
            envvar="FALCONER_DATABASE",
            show_envvar=True,
            help="sqlite:PATH or postgresql://USER@HOST/NAME.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The parquet file to write.")
    ] = Path("events.parquet"),
) -> None:
    """Write what a query of a database gives to a parquet file, which `falconer etl` reads.

    Example: falconer extract "select * from sales" --from sqlite:shop.db --out sales.parquet
    """
    from falconer.pipelines import stages
    from falconer.pipelines.console import say, say_written

    say(f"{stages.extract(database, query, out):,} rows")
    say_written(out)


@app.command("data-card")
def data_card(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="From `falconer etl`.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for card.json and card.html.")
    ] = Path("data-card"),
) -> None:
    """Write a dataset's card, as JSON and as a page: columns, counts, ids, quarantine, origin.

    Example: falconer data-card data/ml-1m/1f2e3d4c5b6a7988 --out card
    """
    from falconer.pipelines.console import say_written
    from falconer.pipelines.data.card import write_page

    say_written(write_page(dataset, out))


@app.command("export-schema")
def export_schema(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="From `falconer etl`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE")] = Path("schema.pbtxt"),
) -> None:
    """Write a Merlin schema of a dataset's train files.

    Example: falconer export-schema data/ml-1m/1f2e3d4c5b6a7988 --out schema.pbtxt
    """
    from falconer.pipelines.console import say_written
    from falconer.pipelines.data.merlin_schema import write_schema

    say_written(write_schema(dataset, out))


@app.command("export-workflow")
def export_workflow(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="From `falconer etl`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
) -> None:
    """Write a dataset's encodings as workflows of plain NVTabular, with a Merlin schema.

    Example: falconer export-workflow data/ml-1m/1f2e3d4c5b6a7988 ml-1m-workflow
    """
    from falconer.pipelines import stages
    from falconer.pipelines.console import say_written

    stages.export_workflow(dataset, out)
    say_written(out)
