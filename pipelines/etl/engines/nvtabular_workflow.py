"""A fitted encoding as a workflow of NVTabular's own operators, which needs nothing of ours where
it is loaded.

What its operators lack are four functions of a column, which are saved by value. Ids of
Categorify, which begin behind its own for padding, null and unseen values, become those that a
dataset has.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from falconer.pipelines.compat import importing_nvtabular, quiet
from falconer.pipelines.etl.column_operators import MinMax
from falconer.pipelines.etl.engines.nvtabular import BELOW_ALL, FIRST_VALUE, NO_INTEGER, NO_TEXT
from falconer.pipelines.etl.operators import Bucketize, Counted, Scaled
from falconer.pipelines.etl.workflow import Output
from falconer.pipelines.files import scratch_folder

with importing_nvtabular():
    import nvtabular
    from merlin.schema import ColumnSchema, Schema
    from nvtabular import ops


def save(outputs: Mapping[str, Output], out: Path) -> None:
    """Save the workflow that makes these columns, by name, as the folder `out`."""
    with scratch_folder() as scratch, quiet():
        nodes = [
            _node(output, f"f{place}", scratch) >> ops.Rename(name=name)
            for place, (name, output) in enumerate(outputs.items())
        ]
        joined = nodes[0]
        for node in nodes[1:]:
            joined = joined + node
        workflow = nvtabular.Workflow(joined)
        workflow.fit_schema(Schema([_raw(output) for output in outputs.values()]))
        workflow.save(str(out), modules_byvalue=[sys.modules[__name__]])


def _raw(output: Output) -> Any:
    values = output.encoding.values
    if values is None:
        return ColumnSchema(output.source, dtype=np.float64)
    return ColumnSchema(output.source, dtype=np.int64 if values.dtype.is_integer() else str)


def _node(output: Output, name: str, scratch: Path) -> Any:
    """The column under a neutral name, encoded: Categorify has columns of its own."""
    node = [output.source] >> ops.Rename(name=name)
    config, encoding = output.encoding.config, output.encoding
    if isinstance(config, Counted):
        assert encoding.values is not None
        return _ids(node, name, encoding.values, scratch)
    if isinstance(config, Bucketize):
        boundaries = {name: [BELOW_ALL, *config.boundaries]}
        found = node >> ops.FillMissing(-np.inf) >> ops.Bucketize(boundaries)
        return found >> _function(places, np.int32)
    if isinstance(config, MinMax):
        least, most = encoding.state or (0.0, 0.0)
        inside = node >> ops.FillMissing(config.fill) >> ops.Clip(least, most)
        return inside >> _scale(name, least, most - least)
    assert isinstance(config, Scaled)
    node = node >> ops.FillMissing(config.fill)
    if config.clip is not None:
        node = node >> ops.Clip(*config.clip)
    if config.log:
        node = node >> _function(log1p, np.float64)
    moments = encoding.moments
    return node >> (_scale(name, moments.mean, moments.std) if moments else _scale(name, 0.0, 1.0))


def _ids(node: Any, name: str, values: pl.Series, scratch: Path) -> Any:
    """Null first becomes a value that no vocabulary has: Categorify's own way with nulls gives
    wrong ids where the rows' index is not 0, 1, ..."""
    if values.dtype.is_integer():
        node = node >> _function(whole, np.int64)
    else:
        node = node >> ops.FillMissing(NO_TEXT)
    folder = scratch / name
    folder.mkdir()
    vocabulary = {name: values.to_pandas()}
    node = node >> ops.Categorify(vocabs=vocabulary, out_path=str(folder))
    return node >> _function(ids, np.int32)


def _scale(name: str, mean: float, std: float) -> Any:
    operator = ops.Normalize(out_dtype=np.float32)
    operator.means, operator.stds = {name: mean}, {name: std}
    return operator


def _function(function: Any, dtype: type[np.generic]) -> Any:
    return ops.LambdaOp(function, dtype=dtype)


def ids(column: Any) -> Any:
    """Of Categorify's, from 0, and -1 for null and unseen values."""
    return (column - FIRST_VALUE).clip(lower=-1).astype("int32")


def places(column: Any) -> Any:
    """Of Bucketize's, where nothing but null is below the first boundary: from 0, and -1 there."""
    return (column - 1).astype("int32")


def whole(column: Any) -> Any:
    """Whole numbers in 64 bits, and the least of them for null."""
    return column.fillna(NO_INTEGER).astype("int64")


def log1p(column: Any) -> Any:
    """ln(1 + x) in 64 bits, which LogOp takes in 32."""
    return np.log1p(column.astype("float64"))
