"""The functions behind the commands: each reads directories, writes one, and returns the path it
wrote.

No framework is imported here: a trainer brings its own, and `evaluate` needs none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from falconer.pipelines import runs, tracking
from falconer.pipelines.config import Config, read_toml
from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import write_text
from falconer.pipelines.models.recipe import frozen, thaw
from falconer.pipelines.runs import Run, Watch
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.contracts import CatalogScorer, PairScorer, UserScorer
from falconer.recsys.judging import compare as comparison
from falconer.recsys.judging import slices
from falconer.recsys.judging.compare import ComparisonConfig
from falconer.recsys.judging.lists import checks as protocol
from falconer.recsys.judging.lists import judge as evaluation
from falconer.recsys.judging.lists.judge import EvaluationConfig
from falconer.recsys.judging.lists.per_query import Judged
from falconer.recsys.judging.reports import Comparison, Report, ViewComparison
from falconer.recsys.lists import formats as foreign
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.models import registry
from falconer.recsys.models.recipe import load_recipe
from falconer.recsys.models.registry import Implementation
from falconer.recsys.models.saved import load_model, save_model
from falconer.recsys.models.train_checks import refuse_or_note
from falconer.recsys.recommending import job as batch
from falconer.recsys.recommending.top_k import BLOCK_BYTES, QUERIES_AT_ONCE, threads
from falconer.recsys.reporting import lists_page as report
from falconer.recsys.stages import labels as rows
from falconer.recsys.stages.finished import dataset_of, finished_run, mirror_apart, runs_and_reports

VIEWS: tuple[View, ...] = ("all", "repeat", "novel")


class RecommendConfig(Config):
    """How long lists are, what a block of scores may take in memory, and where products of factors
    are ranked.

    `device` cuda (or cpu) ranks them with torch; None: with compiled code on all cores, whose bits
    are the same in any batch.
    """

    k: int = Field(default=100, ge=1)
    block_mb: int = Field(default=BLOCK_BYTES // 2**20, ge=1)
    device: str | None = None


def train(
    recipe: str,
    data_path: Path,
    runs_root: Path,
    *,
    overrides: Sequence[str] = (),
    run_id: str | None = None,
    watch: Watch | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Train a recipe (its name, a TOML file, or a model's name) on a dataset; returns the run
    directory.

    `watch` sees the metrics while it trains, and may end it with `runs.StoppedError`; `facts` go
    into `run.json` too.

    Raises `ConfigError` for a wrong recipe and `ArtifactError` for a wrong dataset, both before a
    run is begun.
    """
    implementation, config = load_recipe(recipe, overrides)
    data = Dataset.open(data_path)
    refuse_other_task(implementation, data)
    notes = refuse_or_note(implementation.name, config, data)
    about = {
        "label": _label(recipe),
        "dataset_path": str(data.path.resolve()),
        **_conditions(implementation, config, data),
    }
    about |= {"selected_on": _selected_on(config, data), **(facts or {})}
    with runs.start(
        runs_root,
        model=implementation.name,
        backend=implementation.backend,
        config=frozen(implementation, config),
        run_id=run_id,
        **about,
    ) as run:
        run.watch = watch
        for note in notes:
            run.log(f"note: {note}")
        _train_into(run, implementation, config, data)
    return _mirrored(run)


def resume(run_path: Path, *, data_path: Path | None = None) -> Path:
    """Go on with a training that was killed, interrupted or failed, from its last checkpoint;
    returns its directory.

    `data_path` says where the dataset is now, if it was moved. Raises `ArtifactError` for a run
    that is finished or under way, and where dataset, configuration, versions or threads are not
    those that it was started with.
    """
    run = Run.open(run_path)
    recipe = run.path / runs.CONFIG_FILE
    implementation, config = thaw(registry.REGISTRY, read_toml(recipe), str(recipe))
    data = dataset_of(run, data_path)
    with runs.resume(run_path, **_conditions(implementation, config, data)) as run:
        if not (run.path / "checkpoints").exists():
            run.cut("metrics.jsonl", 0)
        _train_into(run, implementation, config, data)
    return _mirrored(run)


def refuse_other_task(implementation: Implementation, data: Dataset) -> None:
    """`ConfigError` where the model does not train on datasets of this task."""
    if data.card.task not in implementation.config.tasks:
        others = [
            name for name, model in registry.MODELS.items() if data.card.task in model.config.tasks
        ]
        raise ConfigError(
            f"{implementation.name} is a model for the task "
            f"{' and '.join(implementation.config.tasks)}, and "
            f"{data.path} is a dataset of the task {data.card.task}; train one of: "
            f"{', '.join(others)}"
        )


def _conditions(
    implementation: Implementation, config: ModelConfig, data: Dataset
) -> dict[str, Any]:
    """What the bytes of a training's result depend on, besides the configuration and the
    versions."""
    return {
        "dataset_id": data.card.dataset_id,
        "id_space": list(data.card.id_space.generations),
        "seed": config.seed,
        "repeatable": config.repeatable,
        "threads": threads(),
        "package": implementation.package,
    }


def _selected_on(config: ModelConfig, data: Dataset) -> Fold | None:
    """The fold whose metric chooses the weights: what a training loop monitors comes from
    `falconer.recsys.judging.lists.validation`."""
    monitor = getattr(getattr(config, "training", None), "monitor", None)
    return "valid" if monitor is not None and data.has_fold("valid") else None


def _train_into(
    run: Run, implementation: Implementation, config: ModelConfig, data: Dataset
) -> None:
    run.log(
        f"training {implementation.name} on {data.card.name}: {data.n_users} users, {data.n_items} "
        "items"
    )
    overlap.keep_train(data, run.path)
    before, started = run.info["seconds"], time.perf_counter()
    scorer = implementation.train(config, data, run)
    seconds = before + time.perf_counter() - started
    if run.leads:
        save_model(
            run.model_directory, scorer, implementation=implementation, config=config, data=data
        )
    run.log_timing(train_seconds=seconds)
    run.log(f"trained in {seconds:.1f} s")


def _mirrored(run: Run) -> Path:
    if run.leads:
        tracking.mirror(run.path)
    return run.path


def _label(recipe: str) -> str:
    """A short name to print: "ease" of the recipe "complete-journey/ease" and of the file
    "my/ease.toml"."""
    return recipe.removesuffix(".toml").rsplit("/", 1)[-1]


def recommend(
    run_path: Path,
    *,
    fold: Fold = "test",
    views: Sequence[View] = (),
    data_path: Path | None = None,
    config: RecommendConfig | None = None,
) -> Path:
    """Write `<run>/<view>/recommendations.parquet` for each view (none given: all of the dataset's
    split).

    A run holds the lists of one fold: reports on what is replaced are removed. A job that was
    killed goes on where it stopped when it is started again. Returns the run directory.
    """
    config = config or RecommendConfig()
    run = finished_run(run_path)
    data = dataset_of(run, data_path)
    rows.refuse_rows(data)
    chosen = tuple(dict.fromkeys(views)) or data.card.split.views
    overlap.refuse_overlap(run.path, data, fold)
    scorer = load_model(run.model_directory, data)
    about = {"run": run.name}
    block_bytes = config.block_mb * 2**20
    job = batch.Job(fold, chosen, config.k, about, block_bytes=block_bytes, device=config.device)
    written = batch.write_lists(scorer, data, run.path, job)
    run.log_timing(recommend_seconds=written.seconds)
    run.log(
        f"top {config.k} of {written.n_queries} queries in views {', '.join(chosen)}: "
        f"{written.seconds:.1f} s"
    )
    _log_unknown_users(run, scorer, data, fold)
    return run.path


def _log_unknown_users(
    run: Run, scorer: CatalogScorer | PairScorer, data: Dataset, fold: Fold
) -> None:
    """Say how many queries were answered without the model, where it knows users by their ids
    only."""
    if not isinstance(scorer, UserScorer):
        return
    blocks = data.query_blocks(fold, QUERIES_AT_ONCE)
    unknown = sum(int(np.count_nonzero(~scorer.knows(queries))) for _, queries in blocks)
    if unknown:
        n_queries = data.n_queries(fold)
        run.log(
            f"{unknown} of {n_queries} queries are of users whom the model does not know: "
            "popularity for them"
        )


def evaluate(
    lists_path: Path,
    data_path: Path | None = None,
    *,
    fold: Fold | None = None,
    views: Sequence[View] = (),
    out: Path | None = None,
    config: EvaluationConfig | None = None,
) -> Path:
    """Judge a run's lists in all its views, or those of any file (parquet, CSV, TREC, RecBole) in
    `views`, else `all`; on a dataset of the task `labels`, a run's predictions, or those of a file.

    Reports go to `<out>/<view>/`; `out` is the run directory, or a folder `<file>-report` beside
    the file. The fold is that which the lists were made for; `test` where the file does not say.
    Returns `out`.
    """
    config = config or EvaluationConfig()
    if rows.is_about_rows(lists_path, data_path):
        return rows.evaluate(lists_path, data_path, fold=fold, views=views, out=out, config=config)
    if (lists_path / runs.RUN_FILE).is_file():
        return _evaluate_run(
            Run.open(lists_path), data_path, fold=fold, views=views, out=out, config=config
        )
    if lists_path.is_dir():
        raise ArtifactError(f"{lists_path}: neither a run directory nor a parquet file of lists")
    if data_path is None:
        raise ConfigError(
            f"{lists_path}: say which dataset to judge these lists on, with --data DIR"
        )
    target = out or lists_path.with_name(f"{lists_path.stem}-report")
    data = Dataset.open(data_path)
    facts = {"label": lists_path.stem, "run": None}
    with foreign.as_parquet(lists_path) as readable:
        files: dict[View, Path] = dict.fromkeys(views or ("all",), readable)
        _evaluate_files(files, data, target, fold=fold, config=config, facts=facts, info={})
    return target


def _evaluate_run(
    run: Run,
    data_path: Path | None,
    *,
    fold: Fold | None,
    views: Sequence[View],
    out: Path | None,
    config: EvaluationConfig,
) -> Path:
    present = [view for view in VIEWS if (run.path / view / recommendations.FILE).is_file()]
    missing = [view for view in views if view not in present]
    if missing or not present:
        raise ArtifactError(
            f"{run.path}: has no lists{' for view ' + ', '.join(missing) if missing else ''}; "
            f"write them with `falconer recommend {run.path}`"
        )
    files = {view: run.path / view / recommendations.FILE for view in views or present}
    info = run.info
    facts = {
        "label": info.get("label", info["model"]),
        "run": run.name,
        "model": info["model"],
        "cost": _cost(run),
    }
    target, data = out or run.path, dataset_of(run, data_path)
    for path in files.values():
        overlap.refuse_overlap(
            run.path, data, fold or recommendations.about(path).get("fold", "test")
        )
    _evaluate_files(files, data, target, fold=fold, config=config, facts=facts, info=info)
    mirror_apart(run.path)
    return target


def _cost(run: Run) -> dict[str, float]:
    """The last of each of the run's times that a report prints."""
    seconds = {key: value for line in run.read_lines("timing.jsonl") for key, value in line.items()}
    return {key: seconds[key] for key in ("train_seconds", "recommend_seconds") if key in seconds}


def _evaluate_files(
    files: Mapping[View, Path],
    data: Dataset,
    out: Path,
    *,
    fold: Fold | None,
    config: EvaluationConfig,
    facts: Mapping[str, Any],
    info: Mapping[str, Any],
) -> None:
    """Judge each view's file, print a small table of each, write the reports, and note that the
    test was read."""
    judged: list[Fold] = []
    prepared: dict[Fold, dict[str, Any]] = {}
    for view, path in files.items():
        about = recommendations.about(path)
        _refuse_foreign(path, about, data, fold)
        chosen: Fold = fold or about.get("fold", "test")
        if not evaluation.has_relevant(data, chosen, view):
            say(f"{view}: left out, no query of fold {chosen} has a relevant item there")
            continue
        if chosen not in prepared:
            prepared[chosen] = _prepared(data, chosen, out, config, facts, info)
        report = _judge_file(
            path, data, out / view, chosen, view, config, {**facts, **prepared[chosen]}
        )
        _print_report(report)
        judged.append(chosen)
    if not judged:
        raise ConfigError(
            f"{data.path}: nothing to judge in views {', '.join(files)}; choose another fold or "
            "view"
        )
    if "test" in judged:
        protocol.note_read(out.parent, data.card.dataset_id, facts["run"] or facts["label"])


def _judge_file(
    path: Path,
    data: Dataset,
    out: Path,
    fold: Fold,
    view: View,
    config: EvaluationConfig,
    facts: Mapping[str, Any],
) -> Report:
    """Judge the lists of one file, and write what comes of it to `out`."""
    item_keys = data.items.column("key").combine_chunks()
    with (
        recommendations.stored(
            path, user_keys=data.query_keys(fold), item_keys=item_keys, k=max(config.k)
        ) as lists,
        evaluation.place(out) as table,
    ):
        judged = evaluation.judge(
            lists, data, fold=fold, view=view, config=config, table=table, **facts
        )
        evaluation.write_report(out, judged.report)
    return judged.report


def _prepared(
    data: Dataset,
    fold: Fold,
    out: Path,
    config: EvaluationConfig,
    facts: Mapping[str, Any],
    info: Mapping[str, Any],
) -> dict[str, Any]:
    """What is the same for all views of a fold: slicings, what the checks of the protocol found,
    reads of the test."""
    name = facts["run"] or facts["label"]
    tuned = protocol.refuse_tuned_on(info, name, fold)
    reads = protocol.reads_with(out.parent, data.card.dataset_id, name) if fold == "test" else None
    found = protocol.warnings_of(data, fold, config.k)
    return {"slicings": slices.slicings(data, fold), "warnings": (*tuned, *found), "reads": reads}


def _refuse_foreign(path: Path, about: Mapping[str, Any], data: Dataset, fold: Fold | None) -> None:
    """A file that says for which dataset and fold it was made is judged there only."""
    if about.get("dataset_id", data.card.dataset_id) != data.card.dataset_id:
        raise ArtifactError(
            f"{path}: made for dataset {about['dataset_id']}, and {data.path} is "
            f"{data.card.dataset_id}; "
            "recommend on this dataset with `falconer recommend RUN --data DIR`"
        )
    if fold and about.get("fold", fold) != fold:
        raise ArtifactError(
            f"{path}: made for fold {about['fold']}; make lists for {fold} with `falconer "
            f"recommend RUN --fold {fold}`"
        )


def _print_report(judged: Report) -> None:
    """Means by metric and cut-off, and how many queries they are over."""
    say(
        f"{judged.label}, view {judged.view}: {judged.n_evaluated} of {judged.n_queries} queries "
        f"of fold {judged.fold}"
    )
    names = tuple(dict.fromkeys(metric.partition("@")[0] for metric in judged.metrics))
    width = 2 + max(map(len, names))
    say("".join(["".ljust(width), *(f"@{k}".rjust(9) for k in judged.k)]))
    for name in names:
        values = (judged.metrics.get(f"{name}@{k}") for k in judged.k)
        say(
            "".join(
                [
                    name.ljust(width),
                    *("-".rjust(9) if one is None else f"{one.mean:9.4f}" for one in values),
                ]
            )
        )
    if judged.n_without_list:
        say(f"note: {judged.n_without_list} of these queries have no list: they count as misses")
    for warning in judged.warnings:
        say(f"note: {warning}")


def compare(
    paths: Sequence[Path],
    *,
    out: Path,
    data_path: Path | None = None,
    config: ComparisonConfig | None = None,
) -> Path:
    """Compare evaluated runs (or folders that `evaluate` wrote), each once: print verdicts, write
    the page to `out`.

    What else there is among `paths` is passed over, so that they may be all that a folder of runs
    holds.
    """
    paths = runs_and_reports(paths)
    if rows.are_about_rows(paths):
        return rows.compare(
            paths, out=out, data_path=data_path, config=config or ComparisonConfig()
        )
    result = comparison.compare(
        [_judged_views(path) for path in paths], config or ComparisonConfig()
    )
    members = [Run.open(path) for path in paths if (path / runs.RUN_FILE).is_file()]
    write_text(out, report.render(result, _compared_dataset(result, members, data_path), members))
    for view in result.views:
        _print_comparison(view)
    for warning in result.warnings:
        say(f"note: {warning}")
    return out


def _print_comparison(view: ViewComparison) -> None:
    """The verdict, and the paired difference of every two with its interval and its p-value after
    Holm's correction."""
    say(f"{view.view}: {view.verdict}")
    level = f"{view.reports[0].level:.0%}"
    for gap in view.differences:
        corrected = (
            ", not told apart after correction"
            if gap.low > 0 or gap.high < 0
            else ", within the noise"
        )
        note = "" if gap.separated else corrected
        say(
            f"  {gap.first} - {gap.second}: {gap.metric} {gap.difference:+.4f} "
            f"({level} interval {gap.low:+.4f} to {gap.high:+.4f}, p {gap.p_holm:.4f}, {gap.n} "
            f"queries{note})"
        )


def _judged_views(path: Path) -> dict[View, Judged]:
    found = {
        view: evaluation.read(path / view)
        for view in VIEWS
        if (path / view / evaluation.REPORT).is_file()
    }
    if not found:
        raise ArtifactError(f"{path}: has no report; write it with `falconer evaluate {path}`")
    return found


def _compared_dataset(result: Comparison, members: Iterable[Run], given: Path | None) -> Dataset:
    paths = [given] if given else [Path(str(run.info["dataset_path"])) for run in members]
    for path in paths:
        data = Dataset.open(path)
        if data.card.dataset_id == result.dataset_id:
            return data
    raise ConfigError(
        f"dataset {result.dataset_id}, on which these runs were judged, is not known; give --data "
        "DIR"
    )
