"""A run's model as a file for other programs, written only where it answers as the model does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.exporting.checked_file import refuse_inside
from falconer.pipelines.runs import Run
from falconer.recsys.backends.torch.graphs import Form, Graph, GraphScorer
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.exporting.parity import Questions
from falconer.recsys.models.saved import ModelCard, load_model, read_card
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
    weights: Literal["float32", "int8"] = "float32"
    """Of a LiteRT file: as trained, or in a quarter of the size."""
    max_cost: float = Field(default=0.01, ge=0)
    """Of int8: how much of the metric (ndcg@10, roc_auc, rmse) it may cost on the validation
    fold."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the choice of queries and of the items for pairs."""


@dataclass(frozen=True)
class Export:
    """What a kind of file is made of."""

    scorer: Any
    form: Form
    graph: Graph
    card: ModelCard
    data: Dataset
    questions: Questions
    facts: Mapping[str, Any]
    """Which model and dataset it is of, and the lineage of the ids."""
    config: ExportConfig


def export(
    run_path: Path, out: Path, *, data_path: Path | None = None, config: ExportConfig | None = None
) -> Path:
    """Write the run's model to `out`, whose name says what it becomes: `.onnx`, `.tflite` (LiteRT),
    or `.savedmodel`, a folder. Beside the file, or in the folder, stands what it takes and gives;
    returns `out`.

    Raises `ConfigError` for a model that has no such form, and `ArtifactError`, with nothing
    written, where the file would not answer as the model does.
    """
    config = config or ExportConfig()
    run = finished_run(run_path)
    write = _writer(out)
    if config.weights == "int8" and out.suffix != ".tflite":
        raise ConfigError('weights = "int8" is of LiteRT: name a file that ends with .tflite')
    refuse_inside(out, run.model_directory)
    data = dataset_of(run, data_path)
    scorer = load_model(run.model_directory, data)
    form, graph = _graph(scorer, run, config.form)
    card = read_card(run.model_directory)
    questions = Questions(scorer, form, graph, data, n=config.queries, seed=config.seed)
    write(Export(scorer, form, graph, card, data, questions, _facts(card, run, form), config), out)
    return out


def _writer(out: Path) -> Callable[[Export, Path], None]:
    """What writes a file of this name."""
    if out.suffix == ".onnx" and not out.is_dir():
        from falconer.recsys.exporting import onnx_file

        return onnx_file.write
    if out.suffix == ".savedmodel" and not out.is_file():
        from falconer.recsys.exporting import saved_model

        return saved_model.write
    if out.suffix == ".tflite" and not out.is_dir():
        from falconer.recsys.exporting import litert

        return litert.write
    raise ConfigError(
        f"{out}: name a file that ends with .onnx or .tflite, or a folder that ends with "
        ".savedmodel"
    )


def _graph(scorer: CatalogScorer | PairScorer, run: Run, form: Form | None) -> tuple[Form, Graph]:
    forms = scorer.graphs() if isinstance(scorer, GraphScorer) else {}
    chosen = form or next(iter(forms), None)
    if chosen is None or chosen not in forms:
        info = run.info
        has = f"it has {', '.join(forms)}" if forms else "models of torch and tensorflow have one"
        raise ConfigError(
            f"{run.path}: {info['model']} on {info['backend']} has no graph of "
            f"{form or 'any form'}; {has}"
        )
    return chosen, forms[chosen]


def _facts(card: ModelCard, run: Run, form: Form) -> dict[str, Any]:
    return {
        "model": card.name,
        "run": run.name,
        "dataset_id": card.dataset_id,
        "id_space": list(card.id_space.generations),
        "n_users": card.n_users,
        "n_items": card.n_items,
        "form": form,
        "output": OUTPUT,
    }
