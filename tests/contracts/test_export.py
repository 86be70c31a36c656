"""Every model trained on torch or TensorFlow has a graph form that answers as the model does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.torch.graphs import GraphScorer
from falconer.recsys.exporting.export import ExportConfig, export
from falconer.recsys.exporting.onnx_file import answering, graph_bytes
from falconer.recsys.exporting.parity import Questions
from falconer.recsys.models import saved
from tests.contracts.conftest import Trained
from tests.support.datasets import checkerboard
from tests.support.tiny import ALL, LABELS

TOLERANCE = 1e-4
GRAPHS = {"torch", "tensorflow"}
"""Backends whose trained models have graphs."""


def assert_graphs_answer_alike(run: Run, data: Dataset, forms: set[str]) -> None:
    scorer = saved.load_model(run.model_directory, data)
    assert isinstance(scorer, GraphScorer)
    graphs = scorer.graphs()
    assert forms & set(graphs)
    for form, graph in graphs.items():
        questions = Questions(scorer, form, graph, data, n=40, seed=0)
        parity = questions.compare(answering(graph_bytes(graph, questions.example(), {})))
        assert parity.n_scores > 40
        assert parity.largest_difference <= TOLERANCE, form


def assert_folders_answer_alike(run: Run, data: Dataset, out: Path) -> None:
    """As SavedModels too, which are compared as they are written."""
    scorer = saved.load_model(run.model_directory, data)
    assert isinstance(scorer, GraphScorer)
    for form in scorer.graphs():
        config = ExportConfig(form=form, queries=40)
        export(run.path, out, data_path=data.path, config=config)
        assert json.loads((out / "falconer.json").read_text())["form"] == form


@pytest.mark.parametrize(("name", "backend"), [pair for pair in ALL if pair[1] == "tensorflow"])
def test_saved_models_of_lists(
    name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path
) -> None:
    assert_folders_answer_alike(trained(name, backend, board), board, tmp_path / "m.savedmodel")


@pytest.mark.parametrize(("name", "backend"), [pair for pair in LABELS if pair[1] == "tensorflow"])
def test_saved_models_of_rows(
    name: str, backend: str, clicks: Dataset, trained: Trained, tmp_path: Path
) -> None:
    assert_folders_answer_alike(trained(name, backend, clicks), clicks, tmp_path / "m.savedmodel")


@pytest.mark.parametrize(("name", "backend"), [pair for pair in ALL if pair[1] in GRAPHS])
def test_lists(name: str, backend: str, board: Dataset, trained: Trained, tmp_path: Path) -> None:
    run = trained(name, backend, board)
    assert_graphs_answer_alike(run, board, {"catalogue", "pairs"})
    later = checkerboard(tmp_path / "later", n=30, generations=("first", "second"))
    assert_graphs_answer_alike(run, later, {"catalogue", "pairs"})


@pytest.mark.parametrize(("name", "backend"), [pair for pair in LABELS if pair[1] in GRAPHS])
def test_rows(name: str, backend: str, clicks: Dataset, trained: Trained) -> None:
    assert_graphs_answer_alike(trained(name, backend, clicks), clicks, {"pairs"})


@pytest.mark.parametrize(("name", "backend"), [pair for pair in ALL if pair[1] not in GRAPHS])
def test_other_models_have_none(name: str, backend: str, board: Dataset, trained: Trained) -> None:
    assert not isinstance(
        saved.load_model(trained(name, backend, board).model_directory, board), GraphScorer
    )


@pytest.mark.parametrize(("name", "backend"), [("ncf", "torch")])
def test_a_graph_that_answers_otherwise_is_seen(
    name: str, backend: str, board: Dataset, trained: Trained
) -> None:
    scorer = saved.load_model(trained(name, backend, board).model_directory, board)
    assert isinstance(scorer, GraphScorer)
    graph = scorer.graphs()["catalogue"]
    with np.errstate(all="ignore"):
        graph.module.get_buffer("popularity")[3] += 1
    questions = Questions(scorer, "catalogue", graph, board, n=40, seed=0)
    parity = questions.compare(answering(graph_bytes(graph, questions.example(), {})))
    assert parity.largest_difference > TOLERANCE
