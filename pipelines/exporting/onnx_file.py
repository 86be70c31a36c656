"""A torch module as an ONNX file, and what such a file answers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.files import scratch_folder

OPSET = 18
LARGEST_BYTES = 2**31 - 1
"""Of one protobuf message, which holds graph and weights."""

Arrays = Mapping[str, NDArray[Any]]
Axes = Mapping[str, Mapping[int, str]]


def to_onnx(
    module: torch.nn.Module,
    example: Arrays,
    *,
    outputs: Sequence[str],
    free: Axes,
    facts: Mapping[str, str],
) -> bytes:
    """The module as the bytes of an ONNX file, with `facts` as its metadata.

    module   in evaluation mode, on the CPU
    example  its arguments by name, in their order: it is traced with them
    outputs  names of what it returns
    free     name of an argument or output -> axis -> name of a size that may be any

    Raises `PipelineError` where it holds an operation that ONNX does not have, or is too large for
    one file.
    """
    weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    if weights > LARGEST_BYTES:
        raise PipelineError(
            f"the model has {weights / 2**30:.1f} GiB of weights, and an ONNX file holds 2 GiB"
        )
    model = onnx.load_model_from_string(_traced(module, example, outputs, free))
    onnx.checker.check_model(model, full_check=True)
    onnx.helper.set_model_props(model, dict(facts))
    return cast(bytes, model.SerializeToString())


def _traced(module: torch.nn.Module, example: Arrays, outputs: Sequence[str], free: Axes) -> bytes:
    arguments = tuple(torch.from_numpy(array) for array in example.values())
    with scratch_folder() as folder, warnings.catch_warnings():
        # The tracing exporter is announced as legacy; its successor needs onnxscript, which is not
        # a dependency.
        warnings.simplefilter("ignore", DeprecationWarning)
        # What tracing froze is found by the comparison with the model, at other sizes than the
        # example's.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        # A constant that is not computed beforehand is computed by whoever runs the file.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        path = folder / "traced.onnx"
        try:
            torch.onnx.export(
                module,
                arguments,
                path,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes={name: dict(axes) for name, axes in free.items()},
                opset_version=OPSET,
                dynamo=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise PipelineError(
                f"the model has no ONNX form: {str(error).splitlines()[0]}"
            ) from error
        return path.read_bytes()


onnxruntime.disable_telemetry_events()


class Session:
    """An ONNX graph, ready to answer on the CPU."""

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [one.name for one in self._session.get_outputs()]

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Name, type and shape of each input; a size that may be any is a name."""
        return [
            {"name": one.name, "type": one.type, "shape": one.shape}
            for one in self._session.get_inputs()
        ]

    def __call__(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Name -> value of each output, for these inputs."""
        found = self._session.run(self._outputs, dict(arrays))
        return dict(zip(self._outputs, found, strict=True))
