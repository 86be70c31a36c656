"""The commands of object detection, below `falconer vision`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from falconer.pipelines.options import Runs, Sets

app = typer.Typer(no_args_is_help=True, help="Find boxes in pictures: train, judge, detect.")

Kept = Annotated[Path, typer.Option("--kept", metavar="DIR", help="Where named data is unpacked.")]


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name, a TOML file, or ssd for its defaults.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FOLDER", help="VOC, COCO or YOLO folder, or bccd."),
    ] = None,
    runs: Runs = Path("runs"),
    sets: Sets = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with this run.")
    ] = None,
    kept: Kept = Path("data"),
) -> None:
    """Train a detector on annotated pictures; the last line printed is the run directory.

    Example: falconer vision detector train bccd/ssd --data bccd
    """
    from falconer.pipelines.console import say_written
    from falconer.pipelines.errors import ConfigError
    from falconer.vision.detection import stages

    if resume is not None:
        if recipe is not None or sets:
            raise ConfigError(
                "--resume goes on with a run's own recipe: leave out the recipe and --set"
            )
        say_written(stages.resume(resume, kept=kept))
    elif recipe is None or data is None:
        raise ConfigError(
            "say what to train on what: falconer vision detector train RECIPE --data FOLDER, or "
            "--resume RUN"
        )
    else:
        say_written(stages.train(recipe, data, runs, kept=kept, overrides=sets or []))


@app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="FOLDER", help="VOC, COCO or YOLO folder.")],
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe's name or a TOML file.")
    ] = "ssd",
    sets: Sets = None,
    kept: Kept = Path("data"),
) -> None:
    """Say why a detector would find nothing: odd boxes, or eight pictures that it cannot learn.

    Example: falconer vision detector check cells/
    """
    from falconer.vision.detection import stages

    for line in stages.check(recipe, data, kept=kept, overrides=sets or []):
        typer.echo(line)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of a detector.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="FOLDER", help="The run's own if left out.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    kept: Kept = Path("data"),
) -> None:
    """Judge a detector: average precision with intervals, kinds of errors, a page with pictures.

    Example: falconer vision detector evaluate runs/20250101T120000Z-ssd-torch-1a2b3c
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.detection import stages

    say_written(stages.evaluate(run, split=split, source=data, kept=kept))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="FOLDER", help="VOC, COCO or YOLO folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    form: Annotated[str, typer.Option("--form", help="voc, coco or yolo.")] = "coco",
    kept: Kept = Path("data"),
) -> None:
    """Write the annotations of a folder in another form; pictures are linked, not copied.

    Example: falconer vision detector convert cells/ --form yolo --out cells-yolo
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.detection import converting

    say_written(converting.convert(source, out, form, kept=kept))


def detect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or model directory.")],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")] = Path(
        "detections"
    ),
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Least score; the model's own if left out.")
    ] = None,
) -> None:
    """Find boxes in pictures: JSON lines with counts of each class, and pictures with boxes drawn.

    Example: falconer vision detect runs/20250101T120000Z-ssd-torch-1a2b3c frames/
    """
    from falconer.pipelines.console import say_written
    from falconer.vision.detection import stages

    say_written(stages.detect(run, pictures, out, threshold=threshold))
