"""The page of one run: how it learned, how good it is, and where it is most surely wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import page
from falconer.pipelines.page import Column, Table
from falconer.pipelines.runs import Run
from falconer.vision.data.batches import input_of
from falconer.vision.data.prepared import Prepared, middle
from falconer.vision.judging.metrics import log_softmax
from falconer.vision.judging.report import VisionReport
from falconer.vision.model import ImageClassifier
from falconer.vision.reporting.figures import confusion_matrix, curves, data_address, reliability
from falconer.vision.reporting.grad_cam import grad_cam, overlaid

SHOWN_MISTAKES = 12


@dataclass(frozen=True)
class Mistake:
    """A picture that was answered wrongly, as the page shows it."""

    name: str
    truth: str
    answer: str
    sure: str
    picture: str
    looked_at: str


def run_page(
    run: Run,
    report: VisionReport,
    classifier: ImageClassifier,
    prepared: Prepared,
    rows: NDArray[np.int64],
    logits: NDArray[np.float32],
) -> str:
    """The page's HTML; `logits` float32[n, C] are of the prepared pictures `rows`."""
    context: dict[str, object] = {
        "title": report.label,
        "facts": _facts(run, report, prepared),
        "metrics": _metrics(report),
        "curves": curves(run.read_lines("metrics.jsonl")),
        "classes": _classes(report),
        "confusion": None,
        "reliability": None,
        "temperature": page.decimal(report.temperature, digits=2),
        "mistakes": [],
        "set_aside": _set_aside(prepared),
        "sections": [
            ("summary", "Summary"),
            ("training", "Training"),
            ("classes", "Tags" if report.task == "tags" else "Classes"),
        ],
    }
    if report.task == "classes":
        assert report.calibration is not None
        context["confusion"] = confusion_matrix(report.classes, report.confusion)
        context["reliability"] = reliability(report.calibration)
        context["mistakes"] = _mistakes(classifier, prepared, rows, logits, report.temperature)
        context["sections"] = [
            ("summary", "Summary"),
            ("training", "Training"),
            ("classes", "Classes"),
            ("mistakes", "Mistakes"),
        ]
    return page.render("falconer.vision.reporting", "run.html", context)


def _facts(run: Run, report: VisionReport, prepared: Prepared) -> list[tuple[str, str]]:
    info = run.info
    return [
        ("Network", str(report.model)),
        ("Pictures", f"{prepared.card.name}, fold {report.fold}"),
        ("Judged", page.count(report.n)),
        ("Trained in", page.seconds(float(info["seconds"]))),
        ("Seed", str(info["seed"])),
        ("Run", run.name),
    ]


def _metrics(report: VisionReport) -> Table:
    rows = []
    for name, found in report.metrics.items():
        ends = "" if found.low is None or found.high is None else page.span(found.low, found.high)
        rows.append((name, page.decimal(found.mean), ends, found.definition))
    level = f"{100 * report.level:g} %"
    columns = (
        Column("Metric"),
        Column("Value", numeric=True),
        Column(f"{level} interval", numeric=True),
        Column("What it is"),
    )
    caption = f"Intervals over {page.count(report.n)} pictures"
    return Table("metrics", caption, columns, tuple(rows))


def _classes(report: VisionReport) -> Table:
    def shown(value: float | None) -> str:
        return "\u2013" if value is None else page.decimal(value, digits=3)

    tags = report.task == "tags"
    rows = tuple(
        (one.name, page.count(one.n), shown(one.precision), shown(one.recall), shown(one.f1))
        + ((shown(one.average_precision),) if tags else ())
        for one in report.per_class
    )
    heads = ["Pictures", "Precision", "Recall", "F1"] + (["Average precision"] if tags else [])
    columns = (Column("Tag" if tags else "Class"), *(Column(head, numeric=True) for head in heads))
    return Table("per-class", "Each tag" if tags else "Each class", columns, rows)


def _set_aside(prepared: Prepared) -> Table | None:
    if not prepared.card.rejected_total:
        return None
    caption = f"{prepared.card.rejected_total} pictures were set aside"
    columns = (Column("Picture"), Column("Why"))
    return Table("set-aside", caption, columns, tuple(prepared.card.rejected[:20]))


def _mistakes(
    classifier: ImageClassifier,
    prepared: Prepared,
    rows: NDArray[np.int64],
    logits: NDArray[np.float32],
    temperature: float,
) -> list[Mistake]:
    """The wrong answers with the highest probability, the surest first."""
    names = classifier.card.classes
    own = [names.index(name) for name in prepared.card.classes]
    truth = np.array(own)[prepared.labels[rows].astype(np.int64)]
    probabilities = np.exp(log_softmax(logits / np.float32(temperature)))
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != truth)
    sure = probabilities[wrong, answers[wrong]]
    chosen = wrong[np.argsort(-sure, kind="stable")[:SHOWN_MISTAKES]]
    pictures = [middle(prepared.pixels(int(rows[w])), classifier.config.pictures) for w in chosen]
    heats = _heats(classifier, pictures, answers[chosen])
    return [
        Mistake(
            name=prepared.names[int(rows[w])],
            truth=names[truth[w]],
            answer=names[answers[w]],
            sure=page.percent(float(probabilities[w, answers[w]])),
            picture=data_address(pixels),
            looked_at=data_address(overlaid(pixels, heat)),
        )
        for w, pixels, heat in zip(chosen, pictures, heats, strict=True)
    ]


def _heats(
    classifier: ImageClassifier, pictures: Sequence[NDArray[np.uint8]], answers: NDArray[np.int64]
) -> Sequence[NDArray[np.float32]]:
    if not pictures:
        return []
    device = next(classifier.network.parameters()).device
    inputs = input_of(pictures, classifier.config.pictures, device)
    return list(grad_cam(classifier.network, inputs, [int(answer) for answer in answers]))
