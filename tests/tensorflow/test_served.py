"""A model as a SavedModel: TensorFlow reads it without Falconer, and it answers as the model does.
Every model and form is compared in `tests/contracts/test_export.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.compat import importing_merlin_models
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import checksums
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow.serving import Served, names_of
from falconer.recsys.exporting.export import ExportConfig, export
from falconer.recsys.exporting.saved_model import ABOUT, SCHEMA
from falconer.recsys.models.dlrm import on_tensorflow
from tests.support import tiny

STRANGER = """
import sys
sys.modules["falconer"] = None
import numpy as np
import tensorflow as tf
folder, inputs, answers = sys.argv[1:]
function = tf.saved_model.load(folder).signatures["serving_default"]
given = {name: tf.constant(value) for name, value in np.load(inputs).items()}
np.save(answers, function(**given)["scores"].numpy())
print(sorted(name for name in sys.modules if name.startswith(("falconer.", "merlin", "torch"))))
"""


@pytest.fixture(scope="module")
def run(clicks: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained on torch: its twin here has the same weights."""
    return tiny.train("dlrm", "torch", clicks, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def folder(run: Run, clicks: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "dlrm.savedmodel"
    return export(run.path, out, data_path=clicks.path, config=ExportConfig(queries=40))


def about(folder: Path) -> Any:
    return json.loads((folder / ABOUT).read_text(encoding="utf-8"))


def test_a_process_that_has_only_tensorflow_reads_it(
    folder: Path, run: Run, clicks: Dataset, tmp_path: Path
) -> None:
    pairs = clicks.pairs("test")
    columns: dict[str, Any] = {
        "user": pairs.queries.user[pairs.query],
        "item": pairs.item,
        **{name: column[pairs.query] for name, column in pairs.queries.features.items()},
    }
    given = {
        one["name"]: columns[one["reads"]].astype(one["type"]) for one in about(folder)["inputs"]
    }
    np.savez(tmp_path / "inputs.npz", **given)
    paths = [folder, tmp_path / "inputs.npz", tmp_path / "answers.npy"]
    found = subprocess.run(
        [sys.executable, "-c", STRANGER, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        cwd=tmp_path,
    )
    assert found.stdout.splitlines()[-1] == "[]"
    expected = tiny.ranker_of(run, clicks).score_pairs(pairs)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, rtol=1e-4, atol=1e-5)


def test_it_says_what_it_is_and_merlin_reads_its_schema(folder: Path, clicks: Dataset) -> None:
    said = about(folder)
    assert (said["model"], said["form"], said["dataset_id"]) == (
        "dlrm",
        "pairs",
        clicks.card.dataset_id,
    )
    assert said["content"] == checksums(folder, leave_out=(ABOUT,))
    assert said["largest_difference"] <= 1e-4
    with importing_merlin_models():
        from merlin.schema import Tags
        from merlin.schema.io.tensorflow_metadata import TensorflowMetadata

    text = (folder / SCHEMA).read_text(encoding="utf-8")
    schema = TensorflowMetadata.from_proto_text(text).to_merlin_schema()
    assert schema.column_names == [one["name"] for one in said["inputs"]]
    assert schema.select_by_tag(Tags.ITEM_ID).column_names == ["item"]
    assert schema["item"].properties["domain"]["max"] == clicks.n_items - 1


def test_a_folder_that_answers_otherwise_is_not_written(
    run: Run, clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = on_tensorflow.served

    def wrong(graph: Any, config: Any) -> Served:
        served = right(graph, config)
        return Served(lambda inputs: served.answer(inputs) + 0.01, served.variables)

    monkeypatch.setattr(on_tensorflow, "served", wrong)
    with pytest.raises(ArtifactError, match="differ from the model's by up to"):
        export(
            run.path,
            tmp_path / "m.savedmodel",
            data_path=clicks.path,
            config=ExportConfig(queries=40),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_stays(run: Run, clicks: Dataset, tmp_path: Path) -> None:
    (tmp_path / "m.savedmodel").mkdir()
    (tmp_path / "m.savedmodel" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no export"):
        export(
            run.path,
            tmp_path / "m.savedmodel",
            data_path=clicks.path,
            config=ExportConfig(queries=40),
        )
    assert (tmp_path / "m.savedmodel" / "mine.txt").read_text() == "mine"


def test_names_that_tensorflow_does_not_take_are_changed_and_stay_apart() -> None:
    assert names_of(["user", "a b", "a-b", "2nd", "_x"]) == {
        "user": "user",
        "a b": "a_b",
        "a-b": "a_b_",
        "2nd": "x2nd",
        "_x": "x_x",
    }
