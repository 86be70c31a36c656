"""A run's classifier or detector as an ONNX file, written only where it answers as the model
does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.exporting.checked_file import refuse_place, with_format, write_checked
from falconer.pipelines.runs import Run
from falconer.vision.detection.data import open_data
from falconer.vision.detection.saved import load_detector
from falconer.vision.exporting.classifier import classifier_graph
from falconer.vision.exporting.detector import detector_graph
from falconer.vision.exporting.picture_graph import PictureGraph, compared, graph_bytes
from falconer.vision.model import load_classifier
from falconer.vision.runs import finished_run, kind_of
from falconer.vision.stages.evaluate import pictures_for
from falconer.vision.stages.train import PICTURES


class ExportConfig(Config):
    """How exactly the file must answer as the model does."""

    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference that is allowed, relative to values beyond 1 and absolute below."""
    pictures: int = Field(default=64, ge=1)
    """Pictures that are compared, besides a black, a white and a noisy one."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the choice of pictures."""


def export(
    run_path: Path,
    out: Path,
    *,
    data: str | None = None,
    config: ExportConfig | None = None,
    pictures: Path = PICTURES,
    kept: Path = Path("data"),
) -> Path:
    """Write the run's model to `out`, and what it takes and gives to `<out>.json`; returns `out`.

    Raises `ArtifactError`, with nothing written, where the file would not answer as the model does.
    """
    settings = config or ExportConfig()
    run = finished_run(run_path)
    refuse_place(out, run.model_directory)
    graph = (
        _of_detector(run, data, settings, kept)
        if kind_of(run) == "detector"
        else _of_classifier(run, data, settings, pictures)
    )
    content = graph_bytes(graph)
    parity = compared(graph, content)
    write_checked(out, content, graph.facts, parity, tolerance=settings.tolerance)
    return out


def _of_classifier(
    run: Run, data: str | None, settings: ExportConfig, pictures: Path
) -> PictureGraph:
    classifier = load_classifier(run.model_directory)
    prepared = pictures_for(run, classifier, data, pictures)
    graph = classifier_graph(classifier, prepared, n=settings.pictures, seed=settings.seed)
    return _of_run(graph, run, classifier.card.dataset_id)


def _of_detector(run: Run, data: str | None, settings: ExportConfig, kept: Path) -> PictureGraph:
    detector, card, _ = load_detector(run.model_directory)
    source = open_data(data or str(run.info["dataset_path"]), kept)
    graph = detector_graph(detector, card, source, n=settings.pictures, seed=settings.seed)
    return _of_run(graph, run, card.dataset_id)


def _of_run(graph: PictureGraph, run: Run, dataset_id: str) -> PictureGraph:
    about = {"model": run.info["model"], "run": run.name, "dataset_id": dataset_id}
    return replace(graph, facts=with_format({**about, **graph.facts}))
