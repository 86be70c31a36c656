"""What the commands call: train a detector, judge it, and find boxes in anybody's pictures."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from falconer.pipelines import runs
from falconer.pipelines.config import parse, read_toml
from falconer.pipelines.console import say
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.files import atomic_file, read_json, write_json, write_text
from falconer.pipelines.runs import Run
from falconer.vision.data.decode import UnusableError, read_picture
from falconer.vision.data.folder import named_files
from falconer.vision.detection import first_look
from falconer.vision.detection.batches import pixels_of
from falconer.vision.detection.data import DetectionData, open_data
from falconer.vision.detection.judging import store
from falconer.vision.detection.judging.average_precision import Found
from falconer.vision.detection.judging.report import DetectionReport, JudgedDetector, judge
from falconer.vision.detection.overlays import draw
from falconer.vision.detection.page import render
from falconer.vision.detection.registry import RECIPES, REGISTRY
from falconer.vision.detection.saved import DetectorCard, load_detector
from falconer.vision.detection.task import truth_of
from falconer.vision.detection.training import begun
from falconer.vision.runs import finished_run, model_directory

FOLDER, REPORT, PAGE, STORED = "detection", "report.json", "report.html", "detections.npz"


def train(
    recipe: str,
    source: str,
    runs_root: Path,
    *,
    kept: Path = Path("data"),
    overrides: Sequence[str] = (),
    run_id: str | None = None,
) -> Path:
    """Train a recipe on annotated pictures; returns the run directory.

    `source` is a folder or a name (`falconer.vision.detection.data.open_data`). Raises
    `ConfigError` for a wrong recipe and `DataError` for wrong pictures, before a run is begun.
    """
    implementation, config = RECIPES.load(recipe, overrides)
    data = open_data(source, kept)
    _say_data(data)
    if config.network.weights is None:
        say(
            "note: model.network.weights names no trained network, and a detector from nothing "
            "needs many thousands of pictures"
        )
    frozen = {
        "name": implementation.name,
        "backend": implementation.backend,
        "model": config.model_dump(mode="json"),
    }
    with runs.start(
        runs_root,
        model=implementation.name,
        backend=implementation.backend,
        config=frozen,
        run_id=run_id,
        label=Path(recipe).stem,
        dataset_path=_address(source),
        **_conditions(data, config.seed),
    ) as run:
        _train_into(run, implementation, config, data)
    return run.path


def resume(run_path: Path, *, kept: Path = Path("data")) -> Path:
    """Go on with a training that was killed, from its last checkpoint; returns its directory.

    Raises `ArtifactError` where pictures, configuration or versions are not those it began with.
    """
    run = Run.open(run_path)
    frozen = read_toml(run.path / runs.CONFIG_FILE)
    implementation = REGISTRY.resolve(frozen["name"], frozen["backend"])
    config = parse(implementation.config, frozen.get("model", {}), str(run.path / runs.CONFIG_FILE))
    data = open_data(str(run.info["dataset_path"]), kept)
    with runs.resume(run_path, **_conditions(data, config.seed)) as run:
        _train_into(run, implementation, config, data)
    return run.path


def _address(source: str) -> str:
    """A folder's own path, which holds from wherever the run is opened; a name as it is."""
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def _conditions(data: DetectionData, seed: int) -> dict[str, Any]:
    return {"dataset_id": data.dataset_id, "seed": seed}


def _train_into(run: Run, implementation: Any, config: Any, data: DetectionData) -> None:
    run.log(f"training {implementation.name} on {data.name}")
    started = time.perf_counter()
    implementation.train(config, data, run)
    run.log_timing(train_seconds=time.perf_counter() - started)


def _say_data(data: DetectionData) -> None:
    for split, part in data.parts.items():
        say(f"{data.name}, {split}: {len(part.pictures)} pictures, {part.n_boxes} boxes")
        for reason, n in part.reasons().items():
            say(f"  set aside: {n} x {reason}; the first: {_first(part.rejected, reason)}")


def _first(rejected: Sequence[Any], reason: str) -> str:
    return next(str(one.place) for one in rejected if one.reason == reason)


def check(
    recipe: str, source: str, *, kept: Path = Path("data"), overrides: Sequence[str] = ()
) -> list[str]:
    """Look at a folder before a long training: oddities of its boxes, then eight pictures by heart.

    Returns what was found, the verdict last.
    """
    _, config = RECIPES.load(recipe, overrides)
    data = open_data(source, kept)
    _say_data(data)
    network = begun(config, len(data.classes))
    found = first_look.oddities(data, network)
    by_heart = None if found else first_look.learns_by_heart(network, config, data.part("train"))
    return [*found, first_look.verdict(found, by_heart)]


def evaluate(
    run_path: Path, *, split: str = "test", source: str | None = None, kept: Path = Path("data")
) -> Path:
    """Judge a run's detector on a split; writes `<run>/detection/report.json` and its page.

    Returns the run directory. Raises `DataError` where the classes are not those of the model.
    """
    run = finished_run(run_path, "detector")
    detector, card, _ = load_detector(run.model_directory)
    data = open_data(source or str(run.info["dataset_path"]), kept)
    if data.classes != card.classes:
        raise DataError(
            f"{data.root}: has the classes {', '.join(data.classes)}, and the model was trained on "
            f"{', '.join(card.classes)}"
        )
    part = data.part(split)
    founds = list(detector.detect(pixels_of(one.path) for one in part.pictures))
    truths = [truth_of(one) for one in part.pictures]
    report = judge(truths, founds, _facts(run, card, data, split))
    folder = run.path / FOLDER
    folder.mkdir(exist_ok=True)
    write_text(folder / PAGE, render(report, part, founds, run))
    store.write(folder / STORED, truths, founds)
    write_json(folder / REPORT, report.model_dump(mode="json"))
    _say_report(report)
    return run.path


def _facts(run: Run, card: DetectorCard, data: DetectionData, split: str) -> DetectionReport:
    part = data.part(split)
    return DetectionReport(
        label=str(run.info.get("label", card.name)),
        run=run.name,
        dataset_name=data.name,
        dataset_id=data.dataset_id,
        fold=split,
        classes=data.classes,
        n_pictures=len(part.pictures),
        n_boxes=part.n_boxes,
        metrics={},
        threshold=card.threshold,
        errors={},
        rejected=part.reasons(),
    )


def _say_report(report: DetectionReport) -> None:
    say(
        f"{report.label}: {report.n_pictures} pictures of {report.fold}, {report.n_boxes} boxes; "
        f"{report.level:.0%} intervals over pictures"
    )
    width = 2 + max(map(len, report.metrics), default=0)
    for name, one in report.metrics.items():
        say(f"{name.ljust(width)}{one.mean:8.4f} {one.ends}".rstrip())
    if report.threshold is not None:
        kinds = ", ".join(f"{n} {kind}" for kind, n in report.errors.items())
        say(f"with a score of {report.threshold:.2f} or more: {kinds}")


def read_judged(run: Run) -> JudgedDetector:
    """An evaluated run's report, and what comparing needs; `ArtifactError` where there is none."""
    path = run.path / FOLDER / REPORT
    if not path.is_file():
        raise ArtifactError(
            f"{path}: not found; judge the run with `falconer vision detector evaluate {run.path}`"
        )
    report = parse(DetectionReport, read_json(path), str(path))
    truths, founds = store.read(run.path / FOLDER / STORED)
    return JudgedDetector(report, truths, founds)


def detect(
    run_path: Path, given: Sequence[Path], out: Path, *, threshold: float | None = None
) -> Path:
    """Find boxes in pictures (files, or folders of them, at any depth); returns `out`.

    Writes `detections.jsonl` (a line a picture: its boxes, and how many of each class), the
    pictures with their boxes drawn, and `set_aside.jsonl` for what is no picture. `threshold` is
    the model's own where left out.
    """
    detector, card, _ = load_detector(model_directory(run_path, "detector"))
    lowest = threshold if threshold is not None else card.threshold
    if lowest is None:
        raise ConfigError(f"{run_path}: no threshold was chosen for it; say --threshold")
    paths, aside = _pictures(named_files(given))
    if not paths:
        raise DataError(f"no picture among {', '.join(map(str, given))}")
    out.mkdir(parents=True, exist_ok=True)
    totals = dict.fromkeys(card.classes, 0)
    with atomic_file(out / "detections.jsonl") as partial, partial.open("w") as stream:
        founds = detector.detect(pixels_of(path) for path in paths)
        for path, found, name in zip(paths, founds, _overlay_names(paths), strict=True):
            line = _line(path, found, card.classes, lowest)
            stream.write(json.dumps(line) + "\n")
            draw(pixels_of(path), line["boxes"], out / name)
            for kind, n in line["counts"].items():
                totals[kind] += n
    write_text(out / "set_aside.jsonl", "".join(json.dumps(one) + "\n" for one in aside))
    counted = ", ".join(f"{n} {name}" for name, n in totals.items())
    say(f"{len(paths)} pictures: {counted}; {len(aside)} files set aside")
    return out


def _pictures(files: Sequence[Path]) -> tuple[list[Path], list[dict[str, str]]]:
    """Pictures that can be read, and the others with the reason."""
    usable, aside = [], []
    for path in files:
        try:
            read_picture(path)
            usable.append(path)
        except UnusableError as error:
            aside.append({"path": str(path), "reason": str(error)})
    return usable, aside


def _overlay_names(paths: Sequence[Path]) -> list[str]:
    """A file's name for each picture: its own, with a number where another has it already."""
    taken: Counter[str] = Counter()
    found = []
    for path in paths:
        taken[path.stem] += 1
        number = taken[path.stem]
        found.append(f"{path.stem}-boxes{'' if number == 1 else f'-{number}'}.jpg")
    return found


def _line(path: Path, found: Found, classes: Sequence[str], lowest: float) -> dict[str, Any]:
    kept = found.scores >= lowest
    labels = found.labels[kept]
    boxes: list[Mapping[str, Any]] = [
        {"class": classes[label], "score": round(float(score), 4), "box": np.round(box, 1).tolist()}
        for label, score, box in zip(labels, found.scores[kept], found.boxes[kept], strict=True)
    ]
    counts = {name: int((labels == number).sum()) for number, name in enumerate(classes)}
    return {"path": str(path), "boxes": boxes, "counts": counts}
