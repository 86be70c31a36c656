"""A model as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from falconer.pipelines.exporting.checked_file import metadata, with_format, write_checked
from falconer.pipelines.exporting.onnx_file import Session, to_onnx
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.exporting.export import OUTPUT, Export
from falconer.recsys.exporting.judged import Answer


def write(export: Export, out: Path) -> None:
    """Write the file, and `<out>.json` beside it."""
    facts, questions = with_format(export.facts), export.questions
    content = graph_bytes(export.graph, questions.example(), metadata(facts))
    parity = questions.compare(answering(content))
    write_checked(out, content, facts, parity, tolerance=export.config.tolerance)


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


def answering(content: bytes) -> Answer:
    """What gives the scores of such a file for its inputs."""
    session = Session(content)
    return lambda inputs: session(inputs)[OUTPUT]
