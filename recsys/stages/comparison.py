"""Compare evaluated runs: who leads, if anyone does, and one page on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from falconer.pipelines import runs
from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import FORMER_TASK
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import write_text
from falconer.pipelines.runs import Run
from falconer.pipelines.statistics.differences import PairedDifference
from falconer.recsys.judging import compare as judging
from falconer.recsys.judging.compare import Judged
from falconer.recsys.judging.config import ComparisonConfig
from falconer.recsys.judging.reports import BaseReport, Comparison, Part, ViewComparison
from falconer.recsys.judging.stored import REPORT
from falconer.recsys.lists.sealed import checked_sha256
from falconer.recsys.stages.answers import Answers
from falconer.recsys.stages.finished import ANSWERS, runs_and_reports

R = TypeVar("R", bound=BaseReport)

WIDEST_LABEL = 20
"""Characters of a model's label in a line of the console."""
FEW_RUNS = 3
"""Of so many runs every pair is printed; the pairs of more would not fit a screen."""


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
    config = config or ComparisonConfig()
    paths = runs_and_reports(paths)
    _compare(paths, _answers_of(paths), out=out, data_path=data_path, config=config)
    return out


def _compare(
    paths: Sequence[Path],
    answers: Answers[R],
    *,
    out: Path,
    data_path: Path | None,
    config: ComparisonConfig,
) -> None:
    found = [_judged(path, answers) for path in paths]
    result = judging.compare(found, answers.task, metric=config.metric)
    members = [Run.open(path) for path in paths if (path / runs.RUN_FILE).is_file()]
    data = _compared_dataset(result.dataset_id, members, data_path)
    write_text(out, answers.render(result, data, members, config))
    _show(result, answers.task.questions, out)
    for warning in result.warnings:
        say(f"note: {warning}")


def _answers_of(paths: Sequence[Path]) -> Answers[BaseReport]:
    """The answers that all of `paths` have reports on; `ConfigError` where they differ."""
    for path in paths:
        former = path / FORMER_TASK / REPORT
        if former.is_file() and not ANSWERS["labels"].parts(path):
            raise ArtifactError(
                f"{former}: written by an older release; judge anew with `falconer evaluate {path}`"
            )
    of_labels = [bool(ANSWERS["labels"].parts(path)) for path in paths]
    if any(of_labels) and not all(of_labels):
        raise ConfigError(
            f"{paths[of_labels.index(False)]}: has no report on predictions, as others here have; "
            "evaluate it, or leave it out"
        )
    return ANSWERS["labels" if any(of_labels) else "top_n"]


def _judged(path: Path, answers: Answers[R]) -> dict[Part, Judged[R]]:
    found = {part: answers.read(path / part) for part in answers.parts(path)}
    if not found:
        raise ArtifactError(f"{path}: has no report; write it with `falconer evaluate {path}`")
    if (path / runs.RUN_FILE).is_file():
        _refuse_other_answers(Run.open(path), answers, found)
    return found


def _refuse_other_answers(run: Run, answers: Answers[R], found: dict[Part, Judged[R]]) -> None:
    """`ArtifactError` where a report is not on the answers that the run has now."""
    for part, path in answers.of_run(run, ()).items():
        judged = found.get(part)
        if judged is None or judged.report.answers is None:
            continue
        anew = f"judge anew with `falconer evaluate {run.path}`"
        if judged.report.answers != checked_sha256(path, remedy=anew):
            raise ArtifactError(f"{path}: not what the report beside it was made of; {anew}")


def _show(result: Comparison[R], questions: str, out: Path) -> None:
    """Each view's verdict and paired differences; of more than `FEW_RUNS` runs those from the
    first are printed, and all of them are written beside the page `out`."""
    many = max(len(view.reports) for view in result.views) > FEW_RUNS
    pairs, lines = out.with_name(f"{out.stem}-pairs.txt"), []
    for view in result.views:
        say(f"{view.view}: {view.verdict}")
        lines.append(f"{view.view}: {view.verdict}")
        lines += [_in_one_line(gap, questions) for gap in view.differences]
        shown = _against_first(view) if many else lines[-len(view.differences) :]
        for line in shown if view.differences else []:
            say(line)
    if many:
        write_text(pairs, "\n".join([*lines, ""]))
        say(f"all pairs: {pairs}")
    else:
        pairs.unlink(missing_ok=True)


def _against_first(view: ViewComparison[R]) -> list[str]:
    """A line of at most 80 characters for each model's difference to the first: all of them, and
    the verdict, fit a screen."""
    first = view.reports[0].label
    gaps = [gap for gap in view.differences if gap.first == first]
    width = max(len(_short(gap.second)) for gap in gaps)
    return [f"  {_short(first)} less", *(_cells(gap, width) for gap in gaps)]


def _cells(gap: PairedDifference, width: int) -> str:
    p = f"p {'<=' if gap.p_is_bound else '='} {gap.p_holm:.4f}"
    verdict = "told apart" if gap.separated else "not told apart"
    interval = f"({gap.low:+.4f} to {gap.high:+.4f})"
    return f"  {_short(gap.second).ljust(width)} {gap.difference:+.4f} {interval} {p:<11} {verdict}"


def _short(label: str) -> str:
    """Both ends of a long label: names of runs begin alike, and differ at the end."""
    half = WIDEST_LABEL // 2
    return label if len(label) <= WIDEST_LABEL else f"{label[: half - 1]}\u2026{label[-half:]}"


def _in_one_line(gap: PairedDifference, questions: str) -> str:
    """A paired difference with its interval and its p-value after Holm's correction."""
    return (
        f"  {gap.first} - {gap.second}: {gap.metric} {gap.difference:+.4f} "
        f"({100 * gap.level:g}% interval {gap.low:+.4f} to {gap.high:+.4f}, "
        f"p {'at most ' if gap.p_is_bound else ''}{gap.p_holm:.4f}, {gap.n} {questions}; "
        f"{gap.in_words})"
    )


def _compared_dataset(dataset_id: str, members: Iterable[Run], given: Path | None) -> Dataset:
    paths = [given] if given else [Path(str(run.info["dataset_path"])) for run in members]
    for path in paths:
        data = Dataset.open(path)
        if data.card.dataset_id == dataset_id:
            return data
    raise ConfigError(
        f"dataset {dataset_id}, on which these runs were judged, is not known; give --data DIR"
    )
