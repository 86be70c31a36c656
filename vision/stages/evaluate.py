"""Judge a run's classifier on pictures with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from falconer.pipelines.console import say
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.files import atomic_file, write_json, write_text
from falconer.pipelines.runs import Run
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import Prepared, prepare
from falconer.vision.data.source import Fold
from falconer.vision.head import features_of
from falconer.vision.judging.calibration import best_temperature
from falconer.vision.judging.metrics import per_picture, per_unit_of_tags
from falconer.vision.judging.report import (
    JudgeConfig,
    VisionReport,
    best_thresholds,
    class_reports,
    fold_name,
    judged_classes,
    judged_tags,
)
from falconer.vision.model import ClassifierCard, ImageClassifier, load_classifier, save_classifier
from falconer.vision.networks.weights import fingerprint, weights_path
from falconer.vision.reporting.run_page import run_page
from falconer.vision.runs import finished_run
from falconer.vision.stages.train import PICTURES
from falconer.vision.task import logits_of

REPORT, PAGE, VALUES = "report.json", "report.html", "per_picture.parquet"


@dataclass(frozen=True)
class Answers:
    """Logits of judged units (pictures, or clips of pooled frames), with their truth.

    logits float32[n, C]; labels int64[n], or bool[n, C] of tags; rows: the first picture of each
    unit
    """

    names: Sequence[str]
    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64] | NDArray[np.bool_]


def evaluate(
    run_path: Path,
    *,
    data: str | None = None,
    fold: Fold = "test",
    config: JudgeConfig | None = None,
    pictures: Path = PICTURES,
) -> Path:
    """Judge the run's classifier on a fold of the pictures that it was trained on, or of other
    ones; returns the folder with the report, its page, and the values of every picture.

    The temperature and the tags' thresholds are fitted on `valid` at the first call, and kept with
    the model.
    """
    run = finished_run(run_path, "classifier")
    classifier = fitted(run, load_classifier(run.model_directory))
    prepared = pictures_for(run, classifier, data, pictures)
    answers = answers_of(classifier, prepared, prepared.rows(fold))
    if not len(answers.names):
        raise DataError(f"{prepared.card.name}: there are no pictures in the fold {fold}")
    report = judged(run, classifier, prepared, answers, fold, config or JudgeConfig())
    name = fold_name(fold) if data is None else f"{prepared.card.name}-{fold_name(fold)}"
    out = run.path / name
    write_json(out / REPORT, report.model_dump(mode="json"))
    write_values(out / VALUES, classifier.card, answers)
    write_text(
        out / PAGE, run_page(run, report, classifier, prepared, answers.rows, answers.logits)
    )
    tell(report)
    return out


def tell(report: VisionReport) -> None:
    """A line for each metric."""
    for metric, value in report.metrics.items():
        say(f"{metric} {value.mean:.4f}{value.ends}")


def pictures_for(
    run: Run, classifier: ImageClassifier, data: str | None, pictures: Path
) -> Prepared:
    """The run's own pictures, or those of `data` prepared for its classifier.

    Raises `ArtifactError` where its own are gone, `DataError` where others have strange classes.
    """
    if data is None:
        path = Path(run.info["dataset_path"])
        if not path.exists():
            raise ArtifactError(
                f"{path}: the prepared pictures of {run.name} are gone; say --data again"
            )
        return Prepared.open(path)
    prepared = prepare(open_source(data), classifier.config.pictures, pictures)
    own, given = classifier.card.classes, prepared.card.classes
    strange = sorted(set(given) - set(own))
    if strange or prepared.card.task != classifier.card.task:
        raise DataError(
            f"{data}: has {prepared.card.task} that the model does not know: {', '.join(strange)}; "
            f"it knows {', '.join(own)}"
        )
    return prepared


def answers_of(classifier: ImageClassifier, prepared: Prepared, rows: NDArray[np.int64]) -> Answers:
    """The classifier's answers to the pictures `rows`, with pictures of one group averaged where
    the pictures have tags (the frames of a clip)."""
    logits = _logits(classifier, prepared, rows)
    labels = _labels_as_known(classifier.card, prepared, rows)
    names = [prepared.names[row] for row in rows]
    if classifier.card.task == "classes":
        return Answers(names, rows, logits, labels)
    groups = [prepared.groups[row] for row in rows]
    units, first, place = np.unique(
        np.array(groups, object), return_index=True, return_inverse=True
    )
    sums = np.zeros((len(units), logits.shape[1]), np.float64)
    np.add.at(sums, place, logits)
    means = sums / np.bincount(place, minlength=len(units))[:, None]
    return Answers(
        [str(unit) for unit in units], rows[first], means.astype(np.float32), labels[first]
    )


def _logits(
    classifier: ImageClassifier, prepared: Prepared, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """float32[n, C]; of a frozen network's head they are made of the features that are kept."""
    config = classifier.config
    weights = weights_path(config.network.weights) if config.network.weights else None
    if config.unfreezing or weights is None or not weights.is_file():
        return logits_of(classifier.network, prepared, rows, config)
    features = features_of(
        classifier.network, prepared, config.pictures, weights_sha256=fingerprint(weights)
    )
    with torch.no_grad():
        logits: NDArray[np.float32] = classifier.network.head(
            torch.from_numpy(features[rows])
        ).numpy()
    return logits


def _labels_as_known(
    card: ClassifierCard, prepared: Prepared, rows: NDArray[np.int64]
) -> NDArray[np.int64] | NDArray[np.bool_]:
    """The labels of prepared pictures in the numbers of the model's classes."""
    labels = prepared.labels[rows]
    if prepared.card.classes == card.classes:
        return labels
    place = np.array([card.classes.index(name) for name in prepared.card.classes])
    if labels.ndim == 1:
        return np.asarray(place[labels], np.int64)
    known = np.zeros((len(rows), len(card.classes)), np.bool_)
    known[:, place] = labels
    return known


def fitted(
    run: Run, classifier: ImageClassifier, rows: NDArray[np.int64] | None = None
) -> ImageClassifier:
    """The classifier with its temperature and thresholds, fitted once on the pictures `rows`, else
    on the validation fold."""
    card = classifier.card
    done = bool(card.thresholds) if card.task == "tags" else card.temperature != 1.0
    path = Path(run.info["dataset_path"])
    if done or not path.exists():
        return classifier
    prepared = Prepared.open(path)
    answers = answers_of(classifier, prepared, prepared.rows("valid") if rows is None else rows)
    if not len(answers.names):
        return classifier
    if card.task == "tags":
        thresholds = best_thresholds(answers.logits, answers.labels.astype(np.bool_))
        card = card.model_copy(update={"thresholds": thresholds})
    else:
        temperature = best_temperature(answers.logits, answers.labels.astype(np.int64))
        card = card.model_copy(update={"temperature": temperature})
    classifier = ImageClassifier(classifier.network, card, classifier.config)
    save_classifier(run.model_directory, classifier)
    return classifier


def judged(
    run: Run,
    classifier: ImageClassifier,
    prepared: Prepared,
    answers: Answers,
    fold: Fold,
    config: JudgeConfig,
) -> VisionReport:
    """The report on answers; see `VisionReport`."""
    card, info = classifier.card, run.info
    about = {
        "label": f"{info['label']}, seed {info['seed']}",
        "run": run.name,
        "model": card.name,
        "task": card.task,
        "dataset_id": prepared.card.dataset_id,
        "fold": fold_name(fold),
        "n": len(answers.names),
        "classes": card.classes,
        "seed_of_training": info["seed"],
        **config.model_dump(),
    }
    if card.task == "tags":
        metrics, per_class = judged_tags(
            answers.logits, answers.labels.astype(np.bool_), card.classes, card.thresholds, config
        )
        about |= {"metrics": metrics, "per_class": per_class, "thresholds": card.thresholds}
        return VisionReport.model_validate(about)
    labels = answers.labels.astype(np.int64)
    logits = answers.logits / np.float32(card.temperature)
    metrics, confusion, calibration = judged_classes(logits, labels, len(card.classes), config)
    about |= {
        "metrics": metrics,
        "per_class": class_reports(confusion, card.classes),
        "confusion": confusion.tolist(),
        "calibration": calibration,
        "temperature": card.temperature,
    }
    return VisionReport.model_validate(about)


def write_values(path: Path, card: ClassifierCard, answers: Answers) -> None:
    """One row a judged picture: its name, the logits, and of classes the label, and each metric."""
    columns: dict[str, object] = {"name": pa.array(list(answers.names), pa.string())}
    if card.task == "tags":
        limits = card.thresholds or (0.5,) * len(card.classes)
        columns |= per_unit_of_tags(answers.logits, answers.labels.astype(np.bool_), limits)
    else:
        labels = answers.labels.astype(np.int64)
        columns["label"] = labels
        columns["answer"] = answers.logits.argmax(axis=1)
        columns |= per_picture(answers.logits / np.float32(card.temperature), labels)
    width = answers.logits.shape[1]
    columns["logits"] = pa.FixedSizeListArray.from_arrays(answers.logits.reshape(-1), width)
    with atomic_file(path) as partial:
        pq.write_table(pa.table(columns), partial)
