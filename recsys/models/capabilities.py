"""What each model declares of itself, as a table: ours, whose declarations the contract tests hold
true, and those of installed packages, for which the test kit (`falconer.recsys.testing`) does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from falconer.pipelines import plugins
from falconer.pipelines.console import say
from falconer.pipelines.errors import PipelineError
from falconer.pipelines.models.registry import Model
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models.registry import GROUP, MODELS, REGISTRY

LEGEND = """\
task          what it trains on: top_n (lists of items) or labels (a label for each row)
personalised  lists differ with the history
discovers     items outside the history are ranked personally too
folds in      answers for users who came after training,
from their history; others answer by popularity
order         the order of the history counts
starts        can start from a run's weights, on this backend (falconer train --from)
needs         what a dataset must have
repeats       training again gives the same bytes on a CPU, with the default knobs
package       whose it is"""


def table() -> str:
    """One line a model, and what the columns mean."""
    rows = [row for name in REGISTRY.names() if (row := _row_or_note(name))]
    columns = list(rows[0])
    lines = [columns, *([row[column] for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    notes = [f"note: {clash}" for clash in plugins.clashes(GROUP, MODELS)]
    return "\n".join([*text, "", *notes, LEGEND])


def _row_or_note(name: str) -> Mapping[str, str]:
    """The row of a model; of a broken package's model a note instead, and no row."""
    try:
        return _row(name, REGISTRY.model_of(name))
    except PipelineError as error:
        say(f"note: {error}")
        return {}


def _row(name: str, model: Model[ModelConfig]) -> Mapping[str, str]:
    config = model.config
    return {
        "model": name,
        "backend": ", ".join(model.backends),
        "task": ", ".join(config.tasks),
        "personalised": _mark(config.personalised),
        "discovers": _mark(config.discovers),
        "folds in": _mark(config.folds_in),
        "order": _mark(config.order_aware),
        "starts": ", ".join(config.warm_starts) or "-",
        "needs": ", ".join(_needs(model)),
        "repeats": _mark(config.deterministic),
        "package": model.package or "falconer",
    }


def _needs(model: Model[ModelConfig]) -> Iterator[str]:
    if model.config.needs_times:
        yield "times"
    if model.config.needs_features:
        yield "features"


def _mark(declared: object) -> str:
    return "yes" if declared else "-"
