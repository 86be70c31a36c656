"""The commands about pictures. Nothing heavy is imported until one of them runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from falconer.pipelines.options import Runs, Sets, Tolerance
from falconer.vision.detection import cli as detection

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
vision = typer.Typer(
    no_args_is_help=True, help="Pictures: classify and tag them, and find boxes in them."
)
app.add_typer(vision, name="vision")
vision.add_typer(detection.app, name="detector")
vision.command()(detection.detect)

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run directory, from `falconer vision train`.")
]


@vision.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name (such as transfer), or a TOML file.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="A folder with a folder for each class, a CSV file, or a published name.",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    sets: Sets = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with this run, instead of a new one."),
    ] = None,
) -> None:
    """Train a classifier on pictures; the last line printed is the run directory.

    Example: falconer vision train fashion-mnist --data fashion-mnist --set training.epochs=2
    """
    from falconer.pipelines.console import say_written
    from falconer.pipelines.errors import ConfigError
    from falconer.vision.stages import train as stage

    if resume is not None:
        if recipe is not None or sets:
            raise ConfigError(
                "--resume goes on with a run's own recipe: leave out the recipe and --set"
            )
        say_written(stage.resume(resume))
    elif recipe is None or data is None:
        raise ConfigError(
            "say what to train on what: falconer vision train RECIPE --data DATA, or falconer "
            "vision train --resume RUN"
        )
    else:
        say_written(stage.train(recipe, data, runs, overrides=sets or []))


@vision.command()
def evaluate(
    run: RunPath,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="Other pictures than the run's own."),
    ] = None,
    fold: Annotated[
        Literal["train", "valid", "test"], typer.Option("--fold", help="Which pictures.")
    ] = "test",
    sets: Sets = None,
) -> None:
    """Judge a run's classifier: a report with intervals, and a page with its surest mistakes.

    Example: falconer vision evaluate runs/20250101T120000Z-resnet18-torch-1a2b3c --fold valid
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.judging.report import JudgeConfig
    from falconer.vision.stages import evaluate as stage

    config = _settings(JudgeConfig, sets)
    say_written(stage.evaluate(run, data=data, fold=fold, config=config))


@vision.command()
def predict(
    run: RunPath,
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of pictures.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The CSV file.")] = Path(
        "predictions.csv"
    ),
) -> None:
    """Answer pictures without labels: a CSV file with a line for each.

    Example: falconer vision predict runs/20250101T120000Z-resnet18-torch-1a2b3c photos --out p.csv
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.stages import predict as stage

    say_written(stage.predict(run, pictures, out))


@vision.command()
def items(
    run: RunPath,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A picture, or a folder of them, for each item.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table.")] = Path(
        "items.parquet"
    ),
    dimensions: Annotated[
        int, typer.Option("--dimensions", min=0, help="Columns of the embedding.")
    ] = 16,
) -> None:
    """Describe pictured items by tags and an embedding: an items table for `falconer etl`.

    Example: falconer vision items runs/20250101T120000Z-resnet50-torch-1a2b3c films --out
    items.parquet
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.stages import items as stage

    say_written(stage.items(run, folder, out, dimensions=dimensions))


Recipe = Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")]
Data = Annotated[
    str, typer.Option("--data", metavar="DATA", help="A folder, a CSV file, or a published name.")
]


@vision.command()
def ablate(
    recipe: Recipe,
    data: Data,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each recipe.")] = 3,
    fold: Annotated[
        Literal["valid", "test"], typer.Option("--fold", help="Which pictures judge.")
    ] = "valid",
    runs: Runs = Path("runs"),
    sets: Sets = None,
) -> None:
    """Train a recipe whole and without each of its parts: a page says what each is worth.

    The same command goes on with an ablation that was interrupted.

    Example: falconer vision ablate small-pictures-modern --data photos --seeds 3
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.stages import experiments as stage

    config = stage.AblationConfig(seeds=seeds, fold=fold)
    say_written(stage.ablate(recipe, data, runs, overrides=sets or [], config=config))


@vision.command()
def crossvalidate(
    recipe: Recipe,
    data: Data,
    folds: Annotated[int, typer.Option("--folds", help="Parts of the pictures.")] = 5,
    runs: Runs = Path("runs"),
    sets: Sets = None,
) -> None:
    """Judge a recipe on every picture of a small set, each by a training that did not see it.

    Example: falconer vision crossvalidate frozen-features --data photos --folds 5
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.stages import experiments as stage

    config = stage.CrossConfig(folds=folds)
    say_written(stage.crossvalidate(recipe, data, runs, overrides=sets or [], config=config))


@vision.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated runs.")],
    fold: Annotated[
        Literal["train", "valid", "test"] | None,
        typer.Option("--fold", help="On which pictures; of classifiers test if left out."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="What decides; top1 or map@.5 if left out.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page.")] = Path(
        "vision-comparison.html"
    ),
) -> None:
    """Compare evaluated classifiers, or detectors, on the same pictures: paired tests and a page.

    Example: falconer vision compare runs/*-resnet18-* --metric top1 --out comparison.html
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.stages import compare as stage

    say_written(stage.compare(runs, out=out, fold=fold, metric=metric))


@vision.command()
def export(
    run: RunPath,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The ONNX file.")] = Path(
        "model.onnx"
    ),
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="DATA", help="Pictures to compare on; the run's own if left out."
        ),
    ] = None,
    tolerance: Tolerance = None,
    sets: Sets = None,
) -> None:
    """Write a classifier or detector as an ONNX file, once its answers were compared with the
    model's own.

    Example: falconer vision export runs/20250101T120000Z-resnet18-torch-1a2b3c --out cells.onnx
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.stages import export as stage

    given = [] if tolerance is None else [f"tolerance={tolerance}"]
    config = _settings(stage.ExportConfig, [*given, *(sets or [])])
    say_written(stage.export(run, out, data=data, config=config))


def _settings(cls: Any, sets: list[str] | None) -> Any:
    from falconer.pipelines.config import apply_overrides, parse

    return parse(cls, apply_overrides({}, sets or []), "settings of this command")
