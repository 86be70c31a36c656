from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError
from falconer.pipelines.exporting.onnx_file import OPSET, Session
from falconer.pipelines.exporting.parity import difference
from falconer.pipelines.runs import Run
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.exporting.export import ExportConfig, export
from falconer.recsys.exporting.inputs import padded
from falconer.recsys.exporting.onnx_file import graph_bytes
from falconer.recsys.exporting.parity import EDGE_CASES, Questions, with_edge_cases
from falconer.recsys.models import saved
from falconer.recsys.models.ncf.on_torch.scorer import NcfGraph, NcfScorer
from tests.support import tiny
from tests.support.datasets import write_dataset


@pytest.fixture(scope="module")
def run(board: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.train("ncf", "torch", board, tmp_path_factory.mktemp("export-runs"))


def test_the_file_answers_as_the_model_does(run: Run, board: Dataset, tmp_path: Path) -> None:
    out = export(run.path, tmp_path / "ncf.onnx", data_path=board.path)
    session = onnxruntime.InferenceSession(out)
    queries = board.queries("test")
    (scores,) = session.run(["scores"], {"user": np.append(queries.user, -1).astype(np.int64)})
    expected = tiny.scorer_of(run, board).score(queries)
    np.testing.assert_allclose(scores[:-1], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(
        scores[-1], np.bincount(board.train_column("item"), minlength=board.n_items)
    )


def test_the_file_says_what_it_is(run: Run, board: Dataset, tmp_path: Path) -> None:
    config = ExportConfig(form="pairs", queries=30)
    out = export(run.path, tmp_path / "ncf.onnx", data_path=board.path, config=config)
    about = json.loads((tmp_path / "ncf.onnx.json").read_text(encoding="utf-8"))
    card = saved.read_card(run.model_directory)
    assert about["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (about["model"], about["form"], about["opset"]) == ("ncf", "pairs", OPSET)
    assert about["id_space"] == list(card.id_space.generations)
    assert (about["n_users"], about["n_items"]) == (board.n_users, board.n_items)
    assert [one["name"] for one in about["inputs"]] == ["user", "item"]
    assert about["largest_difference"] <= about["tolerance"] == config.tolerance
    assert about["n_scores"] == 30 * 5 + 3 * EDGE_CASES
    model = onnx.load(out)
    assert {(one.domain, one.version) for one in model.opset_import} == {("", OPSET)}
    assert {one.key: one.value for one in model.metadata_props}["model"] == "ncf"


def test_exporting_twice_gives_the_same_bytes(run: Run, board: Dataset, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(run.path, tmp_path / name / "m.onnx", data_path=board.path)
    for file in ("m.onnx", "m.onnx.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


class Shifted(torch.nn.Module):
    """Wrong by `by`, for one user only."""

    def __init__(self, right: torch.nn.Module, by: float) -> None:
        super().__init__()
        self.right, self.by = right, by

    def forward(self, users: torch.Tensor) -> torch.Tensor:
        return self.right(users) + self.by * (users == 7)[:, None]


class Frozen(torch.nn.Module):
    """Right for as many users as it was traced with, and no others."""

    def __init__(self, right: torch.nn.Module) -> None:
        super().__init__()
        self.right = right

    def forward(self, users: torch.Tensor) -> torch.Tensor:
        return self.right(users)[: int(users.shape[0])]


class Forgetful(torch.nn.Module):
    """Wrong for unknown users."""

    def __init__(self, right: NcfGraph) -> None:
        super().__init__()
        self.right = right

    def forward(self, users: torch.Tensor) -> torch.Tensor:
        return self.right(users.clamp(min=0))


class Undefined(torch.nn.Module):
    """NaN for one user."""

    def __init__(self, right: torch.nn.Module) -> None:
        super().__init__()
        self.right = right

    def forward(self, users: torch.Tensor) -> torch.Tensor:
        return (
            self.right(users) / (users != 7)[:, None] * 1.0
            - self.right(users) / (users != 7)[:, None]
        )


WRONG: dict[str, Callable[[NcfGraph], torch.nn.Module]] = {
    "shifted": lambda right: Shifted(right, 0.01),
    "forgetful": Forgetful,
    "undefined": Undefined,
    "frozen": Frozen,
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_not_written(
    kind: str, run: Run, board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graphs(scorer: Any) -> dict[str, Graph]:
        right = NcfGraph(scorer._model, scorer._popularity)
        return {"catalogue": Graph(WRONG[kind](right), ("user",))}

    monkeypatch.setattr(NcfScorer, "graphs", graphs)
    out = tmp_path / "ncf.onnx"
    out.write_bytes(b"what was there before")
    with pytest.raises(PipelineError, match="differ from the model's by up to"):
        export(run.path, out, data_path=board.path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "ncf.onnx": b"what was there before"
    }


def test_a_tolerance_may_be_stated(
    run: Run, board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graphs(scorer: Any) -> dict[str, Graph]:
        return {
            "catalogue": Graph(
                Shifted(NcfGraph(scorer._model, scorer._popularity), 0.01), ("user",)
            )
        }

    monkeypatch.setattr(NcfScorer, "graphs", graphs)
    with pytest.raises(ArtifactError, match=r"up to 0\.0\d+, and 0\.0001 is allowed"):
        export(run.path, tmp_path / "ncf.onnx", data_path=board.path)
    export(
        run.path, tmp_path / "ncf.onnx", data_path=board.path, config=ExportConfig(tolerance=0.02)
    )


def test_what_cannot_be_exported_is_refused(run: Run, board: Dataset, tmp_path: Path) -> None:
    ease = tiny.train("ease", "numpy", board, tmp_path / "runs")
    with pytest.raises(
        ConfigError,
        match=r"ease on numpy has no graph of any form; models of torch and tensorflow have one",
    ):
        export(ease.path, tmp_path / "m.onnx", data_path=board.path)
    with pytest.raises(ConfigError, match=r"ends with \.onnx"):
        export(run.path, tmp_path / "m.bin", data_path=board.path)
    with pytest.raises(ConfigError, match="folder holds nothing else"):
        export(run.path, run.model_directory / "m.onnx", data_path=board.path)
    silent = write_dataset(
        tmp_path / "silent", train=[(0, 0, 1), (1, 1, 2)], n_users=2, n_items=2, folds={}
    )
    own = tiny.train("ncf", "torch", silent, tmp_path / "runs")
    with pytest.raises(ArtifactError, match="no queries to compare"):
        export(own.path, tmp_path / "m.onnx", data_path=silent.path)
    assert not list(tmp_path.glob("*.onnx*"))


def test_a_model_that_is_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("falconer.pipelines.exporting.onnx_file.LARGEST_BYTES", 100)
    graph = Graph(torch.nn.Linear(10, 10), ("x",))
    with pytest.raises(PipelineError, match="2 GiB"):
        graph_bytes(graph, {"x": np.zeros((2, 10), np.float32)}, {})


def test_an_operation_that_onnx_lacks_is_named() -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    with pytest.raises(PipelineError, match=r"no ONNX form.*bessel_j0"):
        graph_bytes(Graph(Odd(), ("x",)), {"x": np.zeros(2, np.float32)}, {})


def test_a_session_says_what_it_takes(run: Run, board: Dataset) -> None:
    scorer = tiny.scorer_of(run, board)
    assert isinstance(scorer, NcfScorer)
    content = graph_bytes(scorer.graphs()["catalogue"], {"user": np.array([1, 2])}, {})
    assert Session(content).inputs == [{"name": "user", "type": "tensor(int64)", "shape": ["rows"]}]


def test_difference_is_relative_beyond_one_and_sees_what_is_not_finite() -> None:
    inf = np.inf
    for expected, found, value in (
        ([0.5, 100.0], [0.5, 100.0], 0.0),
        ([0.5, 0.0], [0.75, 0.0], 0.25),
        ([100.0, -200.0], [110.0, -200.0], 0.1),
        ([-inf, 1.0], [-inf, 1.0], 0.0),
        ([-inf, 1.0], [0.0, 1.0], inf),
        ([0.0, 1.0], [np.nan, 1.0], inf),
        ([0.0, 1.0], [0.0], inf),
        ([], [], 0.0),
    ):
        assert difference(
            np.array(expected, np.float32), np.array(found, np.float32)
        ) == pytest.approx(value)


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6), st.sets(st.integers(0, 5)))
def test_padded_histories_hold_the_known_items_in_order(
    rows: list[list[int]], known: set[int]
) -> None:
    table = padded(Ragged.of(rows), np.isin(np.arange(6), list(known)))
    kept = [[item for item in row if item in known] for row in rows]
    width = max([1, *map(len, kept)])
    assert table.tolist() == [row + [-1] * (width - len(row)) for row in kept]


def test_edge_cases_come_before_the_queries_themselves() -> None:
    queries = Queries(
        np.array([4, 5], np.int32), Ragged.of([[1, 2], [3]]), Ragged.of([[10, 20], [30]], np.int64)
    )
    asked = with_edge_cases(queries)
    assert asked.user.tolist() == [4, 5, -1, -1, -1, -1, 4, 5]
    assert [asked.history[row].tolist() for row in range(8)] == [
        [],
        [],
        [1, 2],
        [3],
        [],
        [],
        [1, 2],
        [3],
    ]
    assert asked.history_times is not None
    assert [asked.history_times[row].tolist() for row in range(8)] == [
        [],
        [],
        [10, 20],
        [30],
        [],
        [],
        [10, 20],
        [30],
    ]


def test_blocks_of_several_sizes_are_asked(run: Run, board: Dataset) -> None:
    scorer = tiny.scorer_of(run, board)
    assert isinstance(scorer, NcfScorer)
    asked: list[int] = []

    def answer(inputs: Any) -> Any:
        asked.append(len(inputs["user"]))
        return np.zeros((len(inputs["user"]), board.n_items), np.float32)

    Questions(scorer, "catalogue", scorer.graphs()["catalogue"], board, n=20, seed=0).compare(
        answer
    )
    assert asked == [1, 2, 7, 32, 1, 2, 7, 16]
    assert sum(asked) == 20 + 3 * EDGE_CASES
