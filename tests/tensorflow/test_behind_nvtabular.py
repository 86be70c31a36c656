"""A process that built a dataset with NVTabular, and so without TensorFlow, trains on TensorFlow
afterwards, as a retraining does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from falconer.pipelines.compat import importing_nvtabular
with importing_nvtabular():
    import nvtabular
import pandas as pd

def encode():
    frame = pd.DataFrame({"item": ["a", "b", "a"]})
    workflow = nvtabular.Workflow(["item"] >> nvtabular.ops.Categorify())
    return workflow.fit_transform(nvtabular.Dataset(frame)).compute()["item"].tolist()

before = encode()
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.merlin import Mlp, Table, schemas
assert Table("items", 3, 2)(tf.constant([[0, 2]])).shape == (1, 2, 2)
assert Mlp(["only"], 2, [4])(tf.ones([3, 2]), None).shape == (3, 4)
import merlin.dtypes, merlin.table
assert merlin.dtypes.int64.to("tensorflow") == tf.int64
column = merlin.table.TensorTable({"a": tf.constant([1, 2])})["a"]
assert isinstance(column, merlin.table.TensorflowColumn)
assert encode() == before == [3, 4, 3]
"""


@pytest.mark.filterwarnings("default")
def test_merlin_models_work_in_a_process_that_imported_nvtabular(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-P", "-c", PROGRAM], cwd=tmp_path, check=True, timeout=300)
