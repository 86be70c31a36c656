"""Each model's colour and marker, and what it logged as it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts
from falconer.pipelines.runs import Run
from falconer.recsys.judging.reports import Comparison

NO_METRICS = ("step", "epoch", "learning_rate")
"""What is logged beside metrics: it tells no model from another."""


@dataclass(frozen=True)
class Palette:
    """Model label -> its colour and marker, the same in every chart of the page."""

    numbers: dict[str, int]

    @classmethod
    def of(cls, comparison: Comparison[Any]) -> Palette:
        """Numbers in the order in which labels first appear."""
        labels = dict.fromkeys(report.label for view in comparison.views for report in view.reports)
        return cls({label: number for number, label in enumerate(labels)})

    def __getitem__(self, label: str) -> int:
        return self.numbers[label]


def curves_of(
    labels: Mapping[str | None, str], runs: Sequence[Run], palette: Palette
) -> list[tuple[str, Markup]]:
    """A line chart of each metric that some run logged at two or more steps, with one line a run;
    labels are given by the runs' names. A training loss has a chart of its own for each kind of
    model: what it measures, and so its height, is the model's own."""
    found: dict[str, list[charts.Series]] = {}
    for run in runs:
        for metric, points in _logged(run).items():
            if run.name in labels and len(points) > 1:
                label = labels[run.name]
                name = f"{metric} of {run.info['model']}" if _is_loss(metric) else metric
                found.setdefault(name, []).append(charts.Series(label, points, palette[label]))
    return [
        (metric, _training_curve(metric, lines, number))
        for number, (metric, lines) in enumerate(sorted(found.items(), key=_losses_last))
    ]


def _is_loss(metric: str) -> bool:
    """Whether this is what a model minimises; "log_loss" is a metric alike for all."""
    return metric.rpartition("/")[2] == "loss"


def _losses_last(named: tuple[str, object]) -> bool:
    return _is_loss(named[0].partition(" of ")[0])


def _logged(run: Run) -> dict[str, list[tuple[float, float]]]:
    points: dict[str, list[tuple[float, float]]] = {}
    for line in run.read_lines("metrics.jsonl"):
        for metric, value in line.items():
            if metric not in NO_METRICS:
                points.setdefault(metric, []).append((float(line["step"]), float(value)))
    return points


def _training_curve(metric: str, lines: Sequence[charts.Series], number: int) -> Markup:
    ends = "; ".join(
        f"{line.label} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in lines
    )
    return charts.line_chart(
        f"training-{number}",
        lines,
        title=f"{metric} while training",
        description=f"Value at each logged step: {ends}.",
        axis="step",
        zero=False,
    )
