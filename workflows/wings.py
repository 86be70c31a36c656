"""The commands on runs of either wing, which know by the runs whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.options import Sets, Tolerance


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Evaluated runs, or folders with reports."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML report.")] = Path(
        "comparison.html"
    ),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Dataset directory of reports without a run."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", help="What decides the order; ndcg@10, top1 or map@.5 if left out."
        ),
    ] = None,
    sets: Sets = None,
) -> None:
    """Compare evaluated runs (of recommenders, classifiers or detectors) in one self-contained HTML
    report, and print who leads, if anyone does.

    Example: falconer compare runs/*-ease-* runs/*-als-* --out comparison.html --metric
    capped_recall@10 --set seed=1
    """
    if not _of_pictures(runs):
        from falconer.recsys import cli as recsys

        return recsys.compare(runs, out=out, data=data, metric=metric, sets=sets)
    if data or sets:
        raise ConfigError("runs of pictures are compared without --data and --set")
    from falconer.vision import cli as vision

    return vision.compare(runs, metric=metric, out=out)


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory of a model on torch or TensorFlow.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="PATH", help="FILE.onnx, FILE.tflite, or FOLDER.savedmodel."),
    ] = Path("model.onnx"),
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="What to compare on; the run's own if left out."
        ),
    ] = None,
    form: Annotated[
        Literal["catalogue", "pairs"] | None,
        typer.Option("--form", help="Scores of all items by query, or of pairs of query and item."),
    ] = None,
    tolerance: Tolerance = None,
    sets: Sets = None,
) -> None:
    """Write a run's model (a recommender, classifier or detector) for other programs, once its
    answers were compared with the model's own.

    Example: falconer export runs/20250101T120000Z-ncf-torch-1a2b3c --out ncf.onnx --set
    queries=5000
    """
    if not _of_pictures([run]):
        from falconer.recsys import cli as recsys

        return recsys.export(run, out=out, data=data, form=form, tolerance=tolerance, sets=sets)
    if form:
        raise ConfigError("--form is of recommenders: a model of pictures has one form")
    from falconer.vision import cli as vision

    return vision.export(
        run, out=out, data=None if data is None else str(data), tolerance=tolerance, sets=sets
    )


def _of_pictures(paths: Sequence[Path]) -> bool:
    """Whether the runs are the vision wing's. Folders of reports are not, and what is no run at all
    is told apart by the command. `ConfigError` for runs of both wings."""
    from falconer.pipelines.runs import RUN_FILE, Run
    from falconer.vision.runs import kind_of

    found = {kind_of(Run.open(path)) is not None for path in paths if (path / RUN_FILE).is_file()}
    if len(found) == 2:
        raise ConfigError("runs of recommenders and runs of pictures cannot be compared")
    return found == {True}
