"""The commands about recommenders. Nothing heavy is imported until one of them runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from falconer.pipelines.options import Runs, Sets

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
metrics = typer.Typer(
    no_args_is_help=True, help="Say what a metric is, and what other libraries call it."
)
app.add_typer(metrics, name="metrics")


class ViewName(StrEnum):
    """The views, as an option takes them."""

    ALL = "all"
    REPEAT = "repeat"
    NOVEL = "novel"


Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Dataset directory; a run remembers the one it trained on."
    ),
]
Views = Annotated[
    list[ViewName] | None,
    typer.Option(
        "--view",
        help="Which items count; may be given several times. Default: all views that there are.",
    ),
]
Folds = Literal["valid", "test"]
SeveralRuns = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run directories, from `falconer train`.")
]


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name, a TOML file, or a model's name for its defaults."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Dataset directory, from `falconer etl`."),
    ] = None,
    runs: Runs = Path("runs"),
    sets: Sets = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with this run, instead of a new one."),
    ] = None,
    refit: Annotated[
        Path | None,
        typer.Option(
            "--refit", metavar="RUN", help="Train this run's model anew, on validation too."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Start from this run's weights."),
    ] = None,
) -> None:
    """Train a recommender on a dataset; the last line printed is the run directory.

    A run that was killed or interrupted goes on from its last checkpoint with --resume, as if
    nothing had happened. --refit trains a finished run's model anew on train and validation, with
    its knobs and as many epochs as it chose. --from starts from a finished run's weights, on a
    dataset that continues that run's.

    Example: falconer train ease --data data/shop/1f2e3d4c5b6a7988 --set model.l2=500
    """
    from falconer.pipelines.console import say_written
    from falconer.pipelines.errors import ConfigError
    from falconer.recsys import stages

    if resume is not None or refit is not None:
        if recipe is not None or sets or start or (resume and refit):
            raise ConfigError(
                "--resume and --refit take a run's own recipe: leave out the recipe, --set and "
                "--from, and give one of the two"
            )
        say_written(
            stages.resume(resume, data_path=data)
            if resume
            else stages.refit(Path(str(refit)), runs, data_path=data)
        )
    elif recipe is None or data is None:
        raise ConfigError(
            "say what to train on what: falconer train RECIPE --data DIR, or falconer train "
            "--resume RUN"
        )
    else:
        say_written(stages.train(recipe, data, runs, overrides=sets or [], start=start))


@app.command()
def tune(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or a TOML file, with a table [search].")
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Dataset directory, from `falconer etl`.")
    ],
    trials: Annotated[
        int | None, typer.Option("--trials", help="Trials in all; 20 if left out.")
    ] = None,
    runs: Runs = Path("runs"),
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", help="Begin no further trial after so many seconds."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="What decides; what the training monitors, else ndcg@10."),
    ] = None,
    view: Annotated[
        ViewName | None, typer.Option("--view", help="Where; the dataset's first view if left out.")
    ] = None,
    sets: Sets = None,
) -> None:
    """Search for a model's knobs on the validation fold; every trial is a run, and the best becomes
    a recipe.

    The same command goes on with a search that was interrupted.

    Example: falconer tune ml-1m/ease --data data/ml-1m/1f2e3d4c5b6a7988 --trials 30 --set seed=1
    """
    from falconer.pipelines.console import say_written
    from falconer.recsys.tuning import study as tuning

    given = {"trials": trials, "timeout": timeout, "metric": metric, "view": view and view.value}
    config = _settings(tuning.TuneConfig, given, sets)
    say_written(tuning.tune(recipe, data, runs, config))


@app.command()
def recommend(
    runs: SeveralRuns,
    data: Data = None,
    k: Annotated[int | None, typer.Option("--k", help="Items in a list; 100 if left out.")] = None,
    fold: Annotated[Folds, typer.Option("--fold", help="Whose queries to answer.")] = "test",
    view: Views = None,
    sets: Sets = None,
) -> None:
    """Write a run's lists of recommendations, with the source's own ids, for each view.

    Example: falconer recommend runs/20250101T120000Z-ease-numpy-1a2b3c --k 50 --set block_mb=512
    """
    from falconer.pipelines.console import say_written
    from falconer.recsys import stages

    config = _settings(stages.RecommendConfig, {"k": k}, sets)
    for run in stages.each_of(runs):
        say_written(
            stages.recommend(run, fold=fold, views=_views(view), data_path=data, config=config)
        )


@app.command()
def predict(
    runs: SeveralRuns,
    data: Data = None,
    fold: Annotated[Folds, typer.Option("--fold", help="Whose rows to score.")] = "test",
) -> None:
    """Write a run's score for each row of a dataset of the task `labels`: the probability of label
    1, or the rating.

    Example: falconer predict runs/20250101T120000Z-dlrm-torch-1a2b3c --fold valid
    """
    from falconer.pipelines.console import say_written
    from falconer.recsys import stages

    for run in stages.each_of(runs):
        say_written(stages.predict(run, fold=fold, data_path=data))


@app.command()
def evaluate(
    recs: Annotated[
        list[Path],
        typer.Argument(metavar="RECS...", help="Run directories, or one file of anybody's lists."),
    ],
    data: Data = None,
    fold: Annotated[
        Folds | None, typer.Option("--fold", help="Default: the lists' own, else test.")
    ] = None,
    view: Views = None,
    k: Annotated[
        list[int] | None, typer.Option("--k", help="Cut-off; may be given several times.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where reports go; the run itself.")
    ] = None,
    sets: Sets = None,
) -> None:
    """Judge lists: a parquet file with user, item, and rank or score, or all lists of a run.

    On a dataset of the task `labels`: a run's predictions, or those of a file with ordinal and
    score.

    Example: falconer evaluate lists.parquet --data data/shop/1f2e3d4c5b6a7988 --k 10 --k 50 --set
    resamples=2000
    """
    from falconer.pipelines.console import say_written
    from falconer.pipelines.errors import ConfigError
    from falconer.recsys import stages
    from falconer.recsys.judging.config import EvaluationConfig

    config = _settings(EvaluationConfig, {"k": k}, sets)
    if out is not None and len(set(recs)) > 1:
        raise ConfigError(
            "one --out holds the reports of one run or file: leave it out, or name one"
        )
    for one in stages.each_of(recs):
        say_written(
            stages.evaluate(one, data, fold=fold, views=_views(view), out=out, config=config)
        )


def compare(
    runs: list[Path], *, out: Path, data: Path | None, metric: str | None, sets: list[str] | None
) -> None:
    """What `falconer compare` does with runs of recommenders."""
    from falconer.pipelines.console import say_written
    from falconer.recsys import stages
    from falconer.recsys.judging.config import ComparisonConfig

    config = _settings(ComparisonConfig, {"metric": metric}, sets)
    say_written(stages.compare(runs, out=out, data_path=data, config=config))


@app.command()
def models() -> None:
    """List the models that there are, and what each can do and needs.

    Example: falconer models
    """
    from falconer.recsys.models.capabilities import table

    typer.echo(table())


@app.command("check-export")
def check_export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="What `falconer export` wrote.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="A dataset of the model's lineage.")
    ],
) -> None:
    """Say whether an exported model is whole and of the dataset's lineage, and its metric on the
    validation fold.

    Example: falconer check-export dlrm.tflite --data data/shop/1f2e3d4c5b6a7988
    """
    from falconer.pipelines.data.dataset import Dataset
    from falconer.recsys.exporting.stored import check

    check(path, Dataset.open(data))


def export(
    run: Path,
    *,
    out: Path,
    data: Path | None,
    form: str | None,
    tolerance: float | None,
    sets: list[str] | None,
) -> None:
    """What `falconer export` does with the run of a recommender."""
    from falconer.pipelines.console import say_written
    from falconer.recsys.exporting import export as exporting

    config = _settings(exporting.ExportConfig, {"form": form, "tolerance": tolerance}, sets)
    say_written(exporting.export(run, out, data_path=data, config=config))


@metrics.command()
def explain(
    metric: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METRIC...]", help="Such as ndcg@10, or gauc; none: the list of all."
        ),
    ] = None,
) -> None:
    """Print a metric's formula, denominator, rules and source.

    Example: falconer metrics explain ndcg@10
    """
    from falconer.recsys.metrics import explain, summary

    typer.echo("\n\n".join(explain(one) for one in metric) if metric else summary())


@metrics.command()
def translate(
    library: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LIBRARY...]", help="Such as ranx; none: all of them."),
    ] = None,
) -> None:
    """Print how other libraries' values follow from ours, on the same lists.

    Example: falconer metrics translate lenskit
    """
    from falconer.recsys.metrics.translate import table

    typer.echo(table(library or ()))


def _settings(cls: Any, given: dict[str, Any], sets: list[str] | None) -> Any:
    """The command's settings: its options where given, then every --set."""
    from falconer.pipelines.config import apply_overrides, parse

    values = {key: value for key, value in given.items() if value is not None}
    return parse(cls, apply_overrides(values, sets or []), "settings of this command")


def _views(given: list[ViewName] | None) -> tuple[Any, ...]:
    return tuple(name.value for name in given or ())
