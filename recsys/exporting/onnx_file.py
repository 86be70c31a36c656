"""A run's model as an ONNX file, written only where the file answers as the model does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.exporting.checked_file import (
    metadata,
    refuse_place,
    with_format,
    write_checked,
)
from falconer.pipelines.exporting.onnx_file import Session, to_onnx
from falconer.pipelines.runs import Run
from falconer.recsys.backends.torch.graphs import Form, Graph, GraphScorer
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.exporting.parity import Questions
from falconer.recsys.models.saved import load_model, read_card
from falconer.recsys.stages.finished import dataset_of, finished_run

OUTPUT = "scores"


class ExportConfig(Config):
    """What to export, and how exactly the file must answer as the model does."""

    form: Form | None = None
    """Scores of the whole catalogue by query, or of pairs; the model's first where left out."""
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference that is allowed, relative to scores beyond 1 and absolute below."""
    queries: int = Field(default=1000, ge=1)
    """Queries of the dataset that are compared, or rows of a dataset of labels."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the choice of queries and of the items for pairs."""


def export(
    run_path: Path, out: Path, *, data_path: Path | None = None, config: ExportConfig | None = None
) -> Path:
    """Write the run's model to `out`, and what it takes and gives to `<out>.json`; returns `out`.

    Raises `ConfigError` for a model that has no such form, and `ArtifactError`, with nothing
    written, where the file would not answer as the model does.
    """
    config = config or ExportConfig()
    run = finished_run(run_path)
    refuse_place(out, run.model_directory)
    data = dataset_of(run, data_path)
    scorer = load_model(run.model_directory, data)
    form, graph = _graph(scorer, run, config.form)
    facts = _facts(run, form)
    questions = Questions(scorer, form, graph, data, n=config.queries, seed=config.seed)
    content = graph_bytes(graph, questions.example(), metadata(facts))
    parity = questions.compare(answering(content))
    write_checked(out, content, facts, parity, tolerance=config.tolerance)
    return out


def graph_bytes(
    graph: Graph, example: Mapping[str, NDArray[Any]], facts: Mapping[str, str]
) -> bytes:
    """The graph as the bytes of an ONNX file: any number of rows, histories of any length. Raises
    as `to_onnx` does."""
    free = {
        name: {0: "rows"} | ({1: "length"} if name == "history" else {}) for name in graph.inputs
    }
    return to_onnx(
        graph.module,
        {name: example[name] for name in graph.inputs},
        outputs=(OUTPUT,),
        free=free | {OUTPUT: {0: "rows"}},
        facts=facts,
    )


def answering(content: bytes) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]:
    """What gives the scores of such a file for its inputs."""
    session = Session(content)
    return lambda inputs: session(inputs)[OUTPUT]


def _graph(scorer: CatalogScorer | PairScorer, run: Run, form: Form | None) -> tuple[Form, Graph]:
    forms = scorer.graphs() if isinstance(scorer, GraphScorer) else {}
    chosen = form or next(iter(forms), None)
    if chosen is None or chosen not in forms:
        info = run.info
        has = f"it has {', '.join(forms)}" if forms else "models trained on torch have one"
        raise ConfigError(
            f"{run.path}: {info['model']} on {info['backend']} has no graph of "
            f"{form or 'any form'}; {has}"
        )
    return chosen, forms[chosen]


def _facts(run: Run, form: Form) -> dict[str, Any]:
    card = read_card(run.model_directory)
    return with_format(
        {
            "model": card.name,
            "run": run.name,
            "dataset_id": card.dataset_id,
            "id_space": list(card.id_space.generations),
            "n_users": card.n_users,
            "n_items": card.n_items,
            "form": form,
            "output": OUTPUT,
        }
    )
