"""A model trained on the device answers on the CPU, and as a graph, as it does there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from falconer.recsys.backends.torch.graphs import GraphScorer
from falconer.recsys.exporting.parity import Questions
from falconer.recsys.models import saved
from tests.gpu_check.figures import Figure, Figures, Place
from tests.gpu_check.steps import data_for, torch_models
from tests.support import tiny

TOLERANCE = 1e-4


def run(place: Place) -> Figures:
    """Of each model: trained on the device, loaded and exported."""
    for name in torch_models():
        data = data_for(name, place.folder)
        config = brief(name, place)
        trained = tiny.train(name, "torch", data, place.folder / "runs", config)
        lines = trained.read_lines("metrics.jsonl")
        yield Figure(f"{name}: last loss", float(lines[-1]["loss"]), "")
        scorer = saved.load_model(trained.model_directory, data)
        if not (isinstance(scorer, GraphScorer) and find_spec("onnxruntime")):
            continue
        from falconer.recsys.exporting.onnx_file import answering, graph_bytes

        for form, graph in scorer.graphs().items():
            questions = Questions(scorer, form, graph, data, n=40, seed=0)
            parity = questions.compare(answering(graph_bytes(graph, questions.example(), {})))
            apart = float(np.nan_to_num(parity.largest_difference, nan=np.inf))
            yield Figure(f"{name}: {form} graph", apart, "difference", TOLERANCE)


def brief(name: str, place: Place) -> Any:
    """The tiny configuration on the device, two epochs of it."""
    config: Any = tiny.tiny_config(name)
    changes = {"device": place.device, "epochs": 2, "validate_every": 1.0}
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})
