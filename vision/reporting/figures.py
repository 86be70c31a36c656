"""Figures of a classifier: confusion matrix, reliability, curves, and pictures as data
addresses."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from falconer.pipelines import drawing
from falconer.pipelines.charts import Series, line_chart
from falconer.vision.data.decode import Pixels
from falconer.vision.judging.calibration import Calibration

LEFT, TOP = 92.0, 74.0
LABELLED = 24
"""With more classes the matrix has no names beside it, and no numbers in it."""
THUMBNAIL = 128


def confusion_matrix(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], *, name: str = "confusion"
) -> Markup:
    """Shares of each true class (a row) by answer (a column): the darker, the more."""
    n = len(classes)
    labelled = n <= LABELLED
    left, top = (LEFT, TOP) if labelled else (8.0, 8.0)
    cell = (drawing.WIDTH - left - 4) / n
    parts: list[Markup] = []
    for row, counts in enumerate(confusion):
        total = max(1, sum(counts))
        for column, count in enumerate(counts):
            if count:
                x, y = left + column * cell, top + row * cell
                text = f"{classes[row]} answered as {classes[column]}: {count} of {total}"
                parts.append(_cell(x, y, cell, count / total, text, right=row == column))
                if labelled and cell > 15 and count / total >= 0.005:
                    parts.append(
                        drawing.text(
                            x + cell / 2,
                            y + cell / 2 + 3,
                            f"{100 * count / total:.0f}",
                            class_="value",
                            text_anchor="middle",
                        )
                    )
        if labelled:
            y = top + (row + 0.5) * cell + 3
            short = _short(classes[row])
            parts.append(drawing.text(left - 5, y, short, class_="tick", text_anchor="end"))
            x = left + (row + 0.5) * cell + 3
            turned = f"rotate(-60 {drawing.at(x)} {drawing.at(top - 5)})"
            parts.append(drawing.text(x, top - 5, short, class_="tick", transform=turned))
    right = sum(counts[row] for row, counts in enumerate(confusion))
    total = sum(map(sum, confusion))
    description = f"{right} of {total} pictures lie on the diagonal, where the answer is right."
    height = top + n * cell + 6
    return drawing.svg(name, height, "Confusion matrix", description, parts)


def _cell(x: float, y: float, side: float, share: float, text: str, *, right: bool) -> Markup:
    return drawing.tag(
        "rect",
        drawing.tag("title", escape(text)),
        x=drawing.at(x),
        y=drawing.at(y),
        width=drawing.at(side * 0.96),
        height=drawing.at(side * 0.96),
        class_=f"mark {drawing.colour(0 if right else 1)}",
        fill_opacity=f"{0.08 + 0.47 * share:.3f}",
        stroke="none",
    )


def _short(label: str) -> str:
    return label if len(label) <= 13 else f"{label[:12]}\u2026"


def reliability(found: Calibration) -> Markup:
    """Accuracy against confidence, and the line on which they agree."""
    points = [(one.confidence, one.accuracy) for one in found.bins]
    return line_chart(
        "reliability",
        [Series("answers", points), Series("as sure as right", [(0.0, 0.0), (1.0, 1.0)], series=2)],
        title="Accuracy against confidence",
        description=f"The expected calibration error is {found.ece:.3f}.",
        axis="confidence (mean of a bin)",
    )


def curves(lines: Sequence[Mapping[str, float]]) -> list[tuple[str, Markup]]:
    """(caption, chart) of each metric of `metrics.jsonl` over the epochs, fit by fit."""
    names = sorted({key for line in lines for key in line} - {"step"})
    charts: list[tuple[str, Markup]] = []
    for metric in ("loss", "log_loss", "top1", "map", "map@.5"):
        series: list[Series] = []
        for key in names:
            fit, _, own = key.rpartition("/")
            if own != metric:
                continue
            epoch = f"{fit}/epoch" if fit else "epoch"
            points = [(line[epoch], line[key]) for line in lines if key in line and epoch in line]
            series.append(Series(fit or "training", points, series=len(series)))
        if series:
            caption = {"loss": "Training loss"}.get(metric, f"{metric} on the validation fold")
            charts.append(
                (
                    caption,
                    line_chart(
                        f"curve-{len(charts)}",
                        series,
                        title=caption,
                        description=f"From {series[0].points[0][1]:.3f} to "
                        f"{series[-1].points[-1][1]:.3f}.",
                        axis="epoch",
                    ),
                )
            )
    return charts


def data_address(pixels: Pixels, *, most: int = THUMBNAIL) -> str:
    """A JPEG as the address of an <img>, at most `most` pixels wide and high; tiny pictures are
    shown with large pixels."""
    channels = pixels.shape[2]
    image = Image.fromarray(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
    if max(image.size) < most // 2:
        factor = most // max(image.size)
        size = (image.width * factor, image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST)
    image.thumbnail((most, most))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
