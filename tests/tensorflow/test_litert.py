"""Models as LiteRT files: in float32 they answer as the model does, and what int8 costs is measured
before the file is written. Exports of any kind are refused where they do not belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow import litert, tf
from falconer.recsys.exporting.export import ExportConfig, export
from falconer.recsys.exporting.stored import open_export
from falconer.recsys.models.vae_cf.on_tensorflow import recency_weights
from falconer.workflows import cli
from tests.support import tiny
from tests.support.datasets import write_labels_dataset

FLOAT = ExportConfig(queries=40)
INT8 = ExportConfig(weights="int8", queries=40, max_cost=0.05)
BRIEF = {"epochs": 2, "validate_every": 2.0}


def trained(name: str, data: Dataset, root: Path, **knobs: Any) -> Run:
    config = tiny.tiny_config(name).model_copy(update=knobs)
    training = config.training.model_copy(update=BRIEF)  # type: ignore[attr-defined]
    return tiny.train(name, "torch", data, root, config.model_copy(update={"training": training}))


@pytest.fixture(scope="module")
def ranking(clicks: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model of labels, with a layer that is large enough for int8."""
    return trained("dlrm", clicks, tmp_path_factory.mktemp("runs"), hidden=(64, 64))


@pytest.fixture(scope="module")
def sequences(board: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("sasrec", board, tmp_path_factory.mktemp("runs"))


def about(path: Path) -> Any:
    return json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))


def test_a_ranking_model_in_float32_answers_as_the_model_does(
    ranking: Run, clicks: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(ranking.path, tmp_path / "m.tflite", data_path=clicks.path, config=FLOAT)
    pairs = clicks.pairs("test")
    expected = tiny.ranker_of(ranking, clicks).score_pairs(pairs)
    found = open_export(out, clicks).score_pairs(pairs)
    # Asked as in a graph, users without an id have no features; `predict` knows some of them.
    known = pairs.queries.user[pairs.query] >= 0
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-4, atol=1e-5)
    assert about(out)["weights"] == "float32"
    assert cli.run(["check-export", str(out), "--data", str(clicks.path)]) == 0
    assert "m.tflite: dlrm, pairs, whole; roc_auc 0." in capsys.readouterr().out


def test_a_sequence_model_in_float32_answers_as_the_model_does(
    sequences: Run, board: Dataset, tmp_path: Path
) -> None:
    out = export(sequences.path, tmp_path / "m.tflite", data_path=board.path, config=FLOAT)
    queries = board.queries("test")
    expected = tiny.scorer_of(sequences, board).score(queries)
    found = open_export(out, board).score(queries)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "data", "metric"),
    [("ranking", "clicks", "roc_auc"), ("sequences", "board", "ndcg@10")],
)
def test_what_int8_costs_is_said_with_its_interval(
    name: str,
    data: str,
    metric: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, place = request.getfixturevalue(name), request.getfixturevalue(data).path
    out = export(run.path, tmp_path / "m.tflite", data_path=place, config=INT8)
    said = about(out)
    assert said["metric"] == metric
    assert said["cost_low"] <= said["cost"] <= said["cost_high"]
    assert 0 < said["largest_difference"] < 0.1
    assert len(out.read_bytes()) == said["int8_bytes"] < 0.9 * said["float32_bytes"]
    assert f"it costs {said['cost']:.4f} of {metric} (" in capsys.readouterr().out


def test_int8_that_costs_too_much_is_not_written(
    ranking: Run, clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(content: bytes) -> Any:
        return lambda inputs: np.zeros(len(inputs["user"]), np.float32)

    monkeypatch.setattr(litert, "answering", blind)
    with pytest.raises(ArtifactError, match=r"int8 costs 0\.\d+ of roc_auc, and 0\.05 is allowed"):
        export(ranking.path, tmp_path / "m.tflite", data_path=clicks.path, config=INT8)
    assert list(tmp_path.iterdir()) == []


def test_int8_of_another_kind_of_file_is_refused(ranking: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"int8.* is of LiteRT"):
        export(ranking.path, tmp_path / "m.onnx", config=INT8)


@pytest.mark.parametrize(
    "name",
    [
        "vae_cf",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("wide_deep", "ncf", "bert4rec")),
    ],
)
def test_the_other_models_have_the_form_too(name: str, board: Dataset, tmp_path: Path) -> None:
    run = trained(name, board, tmp_path / "runs")
    out = export(run.path, tmp_path / "m.tflite", data_path=board.path, config=FLOAT)
    queries = board.queries("test")
    expected = tiny.scorer_of(run, board).score(queries)
    np.testing.assert_allclose(open_export(out, board).score(queries), expected, atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=4),
    decay=st.sampled_from([0.5, 1.0]),
)
def test_weights_of_a_history_are_by_last_occurrences(rows: list[list[int]], decay: float) -> None:
    length = max(map(len, rows))
    history = np.array([row + [-1] * (length - len(row)) for row in rows], np.int64)
    expected = np.zeros((len(rows), 5), np.float32)
    for place, row in enumerate(rows):
        newest_first = dict.fromkeys(reversed(row))
        for position, item in enumerate(newest_first):
            expected[place, item] = decay**position
    found = recency_weights(tf.constant(history.reshape(len(rows), length)), 5, decay)
    np.testing.assert_allclose(found.numpy(), expected)


def test_an_operation_that_litert_lacks_is_named(tmp_path: Path) -> None:
    module = tf.Module()

    def highest(x: Any) -> Any:
        return tf.tensor_scatter_nd_max(x, [[0], [0]], [1.0, 2.0])

    signature = [tf.TensorSpec([None], tf.float32)]
    module.function = tf.function(highest, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(PipelineError, match=r"no LiteRT form: tf\.TensorScatterMax"):
        litert.converted(str(tmp_path), int8=False)


@pytest.mark.parametrize("name", ["m.savedmodel", "m.tflite", "m.onnx"])
def test_an_export_of_another_lineage_or_damaged_is_refused(
    name: str,
    ranking: Run,
    clicks: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = export(ranking.path, tmp_path / name, data_path=clicks.path, config=FLOAT)
    other = write_labels_dataset(tmp_path / "other", generations=("elsewhere",))

    def refusal(data: Dataset) -> str:
        assert cli.run(["check-export", str(out), "--data", str(data.path)]) == 2
        text = capsys.readouterr().err
        assert text.count("error: ") == 1
        assert "Traceback" not in text
        return text

    assert "knows the ids of lineage first, and" in refusal(other)
    file = out / "saved_model.pb" if out.is_dir() else out
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "damaged" in refusal(clicks)
