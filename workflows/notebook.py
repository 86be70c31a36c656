"""The public Python API, for notebooks: the commands as functions, with tables as answers.

The examples below are one session, beside the recipes and the rows that docs/api.md and
docs/labels.md make:

>>> import falconer
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from falconer.pipelines.data.dataset import Dataset


class Page:
    """A report: its HTML file (`path`), which a notebook shows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Page {self.path}"

    def _repr_html_(self) -> str:
        text = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{text}" width="100%" height="600"></iframe>'


def etl(recipe: Path | str, out: Path | str = "data") -> Path:
    """Build the dataset of a recipe (a name or a file) below `out`; its directory.

    Raises `ConfigError` or `DataError` with what to mend.

    >>> data = falconer.etl("small.toml")
    needs   about 2,000 rows, ...
    encode  users 100, items 15, train events 1,800, ...
    """
    from falconer.pipelines import stages

    return stages.etl(stages.load_recipe(str(recipe)), Path(out))


def open_dataset(path: Path | str) -> Dataset:
    """The dataset in a directory that `etl` made.

    Raises `ArtifactError` where it is none, or is damaged.

    >>> dataset = falconer.open_dataset(data)
    >>> dataset
    Dataset small: 100 users, 15 items, for top_n
    >>> dataset.train.num_rows
    1800
    >>> dataset.items.column("key").to_pylist()[:3]
    ['i0', 'i12', 'i16']
    """
    from falconer.pipelines.data.dataset import Dataset

    return Dataset.open(Path(path))


def train(
    recipe: str, data: Path | str, runs: Path | str = "runs", overrides: Sequence[str] = ()
) -> Path:
    """Train a model or a recipe on a dataset; the run's directory.

    `overrides` are as after `--set`: "model.l2=10". Raises `ConfigError` with every mistake.

    >>> run = falconer.train("ease", data, overrides=["model.l2=10"])
    training ease on small: 100 users, 15 items
    ...
    >>> plain = falconer.train("popularity", data)
    training popularity on small: ...
    """
    from falconer.recsys import stages

    return stages.train(recipe, Path(data), Path(runs), overrides=overrides)


def recommend(run: Path | str, k: int = 100) -> pl.DataFrame:
    """Write a run's lists of k items for the test fold, and read them; `.to_pandas()` needs pandas.

    Raises `ArtifactError` where the run has no model, and `ConfigError` where k is no length.

    >>> lists = falconer.recommend(run, k=20)
    top 20 of 100 queries in views all, repeat, novel: ...
    >>> lists.columns
    ['user', 'item', 'rank', 'score', 'view']
    >>> lists.row(0, named=True)["rank"]
    1
    """
    import polars as pl

    from falconer.pipelines import parquet
    from falconer.pipelines.config import parse
    from falconer.recsys import stages

    config = parse(stages.RecommendConfig, {"k": k}, "recommend")
    written = stages.recommend(Path(run), config=config)
    tables = [
        pl.DataFrame(parquet.read(path)).with_columns(view=pl.lit(path.parent.name))
        for path in sorted(written.glob("*/recommendations.parquet"))
    ]
    return pl.concat(tables)


def predict(run: Path | str) -> pl.DataFrame:
    """Write the score of each row of the test fold, and read them: as `recommend`, of the task
    `labels`. `ordinal` is the row's number in the source.

    Raises `ConfigError` for a run on lists, or of a model that scores no rows.

    >>> clicks = falconer.etl("banners.toml")
    needs   about 3,001 rows, ...
    >>> means = falconer.train("label_mean", clicks, overrides=["model.by=device"])
    training label_mean on banners: ...
    >>> falconer.predict(means).columns
    predicted 284 rows of fold test: ...
    ['ordinal', 'user', 'score']
    >>> falconer.evaluate(means).row(0, named=True)["metric"]
    label_mean: ...
    'roc_auc'
    """
    import polars as pl

    from falconer.pipelines import parquet
    from falconer.recsys import stages
    from falconer.recsys.judging.labels.predictions import FILE

    return pl.DataFrame(parquet.read(stages.predict(Path(run)) / FILE))


def evaluate(run: Path | str, data: Path | str | None = None) -> pl.DataFrame:
    """Judge a run's lists or predictions: a row for each view and metric, with the interval of the
    mean. Of the task `labels` the view is called labels.

    Raises `ArtifactError` where the run has neither.

    >>> judged = falconer.evaluate(run)
    ease, view all: 100 of 100 queries of fold test
    ...
    >>> judged.columns
    ['view', 'metric', 'mean', 'low', 'high', 'definition']
    >>> judged.row(0, named=True)["metric"]
    'recall@1'
    """
    import polars as pl

    from falconer.pipelines.files import read_json
    from falconer.recsys import stages

    written = stages.evaluate(Path(run), None if data is None else Path(data))
    rows = [
        {"view": path.parent.name, "metric": metric, **estimate}
        for path in sorted(written.glob("*/report.json"))
        for metric, estimate in read_json(path)["metrics"].items()
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def compare(runs: Sequence[Path | str], out: Path | str = "report.html") -> Page:
    """Compare judged runs, best first; the page shows itself in a notebook.

    Raises `ArtifactError` where a run was not judged, or on other data.

    >>> _ = falconer.recommend(plain)
    top 100 of 100 queries ...
    >>> _ = falconer.evaluate(plain)
    popularity, view all: ...
    >>> page = falconer.compare([run, plain])
    all: ease (l2=10.0) (ndcg@10 0.7045) leads, 0.4087 (95% interval ...) ahead of popularity. ...
    >>> page
    Page report.html
    """
    from falconer.recsys import stages

    return Page(stages.compare([Path(run) for run in runs], out=Path(out)))
