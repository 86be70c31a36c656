"""The page on a judged detector: figures, kinds of errors, and pictures with both sorts of
boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from falconer.pipelines import charts, page
from falconer.pipelines.page import Column, Table
from falconer.pipelines.runs import Run
from falconer.vision.detection.annotations import Annotated, Picture
from falconer.vision.detection.batches import pixels_of
from falconer.vision.detection.judging.average_precision import Found
from falconer.vision.detection.judging.errors import error_kinds
from falconer.vision.detection.judging.report import DetectionReport
from falconer.vision.detection.overlays import colour_of
from falconer.vision.detection.task import truth_of
from falconer.vision.reporting.figures import curves, data_address

PICTURES_SHOWN = 9
PICTURE_WIDTH = 480


@dataclass(frozen=True)
class Shown:
    """A picture on the page, with its boxes as SVG."""

    name: str
    drawing: Markup
    note: str


def render(report: DetectionReport, data: Annotated, founds: Sequence[Found], run: Run) -> str:
    """The page's HTML; the pictures shown are those with the most errors, then some without."""
    context: Mapping[str, object] = {
        "title": f"{report.label} on {report.dataset_name}",
        "sections": [
            ("figures", "Figures"),
            ("errors", "Errors"),
            ("pictures", "Pictures"),
            ("training", "Training"),
        ],
        "facts": _facts(report),
        "chart": _chart(report),
        "metrics": _metrics(report),
        "errors": _errors(report),
        "pictures": _shown(report, data, founds),
        "legend": [(name, _swatch(colour_of(name))) for name in report.classes],
        "threshold": None if report.threshold is None else page.decimal(report.threshold, digits=2),
        "curves": curves(run.read_lines("metrics.jsonl")),
        "set_aside": list(report.rejected.items()),
    }
    return page.render("falconer.vision.detection", "detection.html", context)


def _facts(report: DetectionReport) -> list[tuple[str, str]]:
    return [
        ("Run", str(report.run)),
        ("Data", f"{report.dataset_name}, {report.fold}"),
        ("Pictures", page.count(report.n_pictures)),
        ("Boxes", page.count(report.n_boxes)),
        ("Classes", ", ".join(report.classes)),
    ]


def _chart(report: DetectionReport) -> Markup:
    names = [name for name in report.metrics if name in ("map", "map@.5") or name[:5] == "ap@.5"]
    rows = [
        charts.Dot(
            name, report.metrics[name].mean, report.metrics[name].low, report.metrics[name].high
        )
        for name in names
    ]
    spoken = ", ".join(f"{row.label} {page.decimal(row.value, digits=3)}" for row in rows)
    return charts.dot_chart(
        "precision",
        rows,
        title="Average precision with its interval",
        description=spoken,
        axis="average precision",
    )


def _metrics(report: DetectionReport) -> Table:
    rows = tuple(
        (
            page.with_note(name, one.definition),
            page.decimal(one.mean),
            "" if one.low is None or one.high is None else page.span(one.low, one.high),
        )
        for name, one in report.metrics.items()
    )
    columns = (
        Column("Metric"),
        Column("Value", numeric=True),
        Column(f"{report.level:.0%} interval over pictures", numeric=True),
    )
    return Table("metrics", "Every metric, with what it is", columns, rows)


ERRORS = {
    "right": "finds a true box",
    "class": "over a true box of another class",
    "location": "off a true box of its class (overlap 0.1 to 0.5)",
    "both": "off a true box of another class",
    "duplicate": "over a true box that a surer detection has found",
    "background": "over nothing",
    "missed": "true boxes that nothing is near",
}


def _errors(report: DetectionReport) -> Table | None:
    if not report.errors:
        return None
    rows = tuple((kind, page.count(n), ERRORS[kind]) for kind, n in report.errors.items())
    columns = (Column("Kind"), Column("Number", numeric=True), Column("What it is"))
    return Table("errors", "Detections by what is wrong with them", columns, rows)


def _shown(report: DetectionReport, data: Annotated, founds: Sequence[Found]) -> list[Shown]:
    lowest = 0.5 if report.threshold is None else report.threshold
    wrong = []
    for picture, found in zip(data.pictures, founds, strict=True):
        kinds = error_kinds([truth_of(picture)], [found], lowest)
        wrong.append(sum(n for kind, n in kinds.items() if kind != "right"))
    order = np.argsort(-np.array(wrong), kind="stable")
    chosen = [*order[: PICTURES_SHOWN - 3], *order[::-1][:3]][: len(order)]
    return [
        Shown(
            data.pictures[n].path.name,
            _drawing(data.pictures[n], founds[n], lowest, report.classes),
            f"{wrong[n]} errors: {int((founds[n].scores >= lowest).sum())} detections, "
            f"{len(data.pictures[n])} true boxes",
        )
        for n in dict.fromkeys(int(place) for place in chosen)
    ]


def _drawing(picture: Picture, found: Found, lowest: float, classes: Sequence[str]) -> Markup:
    """An SVG with the picture, true boxes dashed and detections in the colours of their classes."""
    shapes = [
        Markup('<image href="{}" width="{}" height="{}"/>').format(
            data_address(pixels_of(picture.path), most=PICTURE_WIDTH), picture.width, picture.height
        )
    ]
    for box in picture.boxes:
        shapes.append(_rectangle(box, "#ffffff", 'stroke-dasharray="7 5"'))
    kept = found.scores >= lowest
    for box, label in zip(found.boxes[kept], found.labels[kept], strict=True):
        shapes.append(_rectangle(box, colour_of(classes[label]), ""))
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{} with {} true boxes and {} detections">'
        "{}</svg>"
    ).format(
        picture.width,
        picture.height,
        picture.path.name,
        len(picture),
        int(kept.sum()),
        Markup("").join(shapes),
    )


def _swatch(colour: str) -> Markup:
    """A small square of a colour; decoration, hidden from screen readers."""
    return Markup(
        '<svg width="14" height="14" aria-hidden="true">'
        '<rect width="14" height="14" fill="{}"/></svg>'
    ).format(colour)


def _rectangle(box: Sequence[float], colour: str, more: str) -> Markup:
    x0, y0, x1, y1 = (round(float(value), 1) for value in box)
    return Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="{}" stroke-width="3" {}/>'
    ).format(x0, y0, round(x1 - x0, 1), round(y1 - y0, 1), colour, Markup(more))
