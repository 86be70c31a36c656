"""Graphs of trained torch models as ONNX files, and what such a file answers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.files import scratch_folder
from falconer.recsys.backends.torch.graphs import Graph

OPSET = 18
OUTPUT = "scores"
LARGEST_BYTES = 2**31 - 1
"""Of one protobuf message, which holds graph and weights."""


def to_onnx(graph: Graph, example: Mapping[str, NDArray[Any]], facts: Mapping[str, str]) -> bytes:
    """The graph as the bytes of an ONNX file, with `facts` as its metadata; `example` is used to
    trace it.

    Raises `PipelineError` where it holds an operation that ONNX does not have, or is too large for
    one file.
    """
    weights = sum(tensor.nbytes for tensor in (*graph.module.parameters(), *graph.module.buffers()))
    if weights > LARGEST_BYTES:
        raise PipelineError(
            f"the model has {weights / 2**30:.1f} GiB of weights, and an ONNX file holds 2 GiB"
        )
    model = onnx.load_model_from_string(_traced(graph, example))
    onnx.checker.check_model(model, full_check=True)
    onnx.helper.set_model_props(model, dict(facts))
    return cast(bytes, model.SerializeToString())


def _traced(graph: Graph, example: Mapping[str, NDArray[Any]]) -> bytes:
    arguments = tuple(torch.from_numpy(example[name]) for name in graph.inputs)
    with scratch_folder() as folder, warnings.catch_warnings():
        # The tracing exporter is announced as legacy; its successor needs onnxscript, which is not
        # a dependency.
        warnings.simplefilter("ignore", DeprecationWarning)
        # What tracing froze is found by the comparison with the scorer, at other sizes than the
        # example's.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        path = folder / "traced.onnx"
        try:
            torch.onnx.export(
                graph.module,
                arguments,
                path,
                input_names=list(graph.inputs),
                output_names=[OUTPUT],
                dynamic_axes=_dynamic_axes(graph.inputs),
                opset_version=OPSET,
                dynamo=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise PipelineError(
                f"the model has no ONNX form: {str(error).splitlines()[0]}"
            ) from error
        return path.read_bytes()


def _dynamic_axes(inputs: Sequence[str]) -> dict[str, dict[int, str]]:
    axes = {name: {0: "rows"} | ({1: "length"} if name == "history" else {}) for name in inputs}
    return axes | {OUTPUT: {0: "rows"}}


onnxruntime.disable_telemetry_events()


class Session:
    """An ONNX graph, ready to answer on the CPU."""

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Name, type and shape of each input; a size that may be any is a name."""
        return [
            {"name": one.name, "type": one.type, "shape": one.shape}
            for one in self._session.get_inputs()
        ]

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The scores for these inputs."""
        (scores,) = self._session.run([OUTPUT], dict(arrays))
        return cast(NDArray[np.float32], scores)
