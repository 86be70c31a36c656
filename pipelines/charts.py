"""Charts as inline SVG: small functions from numbers to markup, with no plotting library.

Every chart is 360 units wide, so that its text stays readable on a phone, where one chart fills the
width, and on a desk, where several stand side by side. Colours come from the page's style sheet
(`.series-0` to `.series-7`), so that a chart follows light and dark; a series also has a marker
shape of its own, since colour alone must not tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from falconer.pipelines import drawing, labelling

LEAST_NUMBER = 1e-300
"""What is nearer to zero is drawn as zero: a quarter of the least float has no logarithm."""
ROW_HEIGHT = 27.0
DOT_RIGHT = 72.0
LINE_LEFT = 42.0
LINE_HEIGHT = 200.0
LABEL_GAP = 15.0
TOP, BOTTOM = 10.0, 36.0
TICK_WIDTH = 45.0
LABEL_CHARACTERS = 19
LABEL_WIDTH, SMALL_LABEL_WIDTH = 7.1, 6.5
"""Of one character, at most, in the widest of the usual fonts."""


@dataclass(frozen=True)
class Dot:
    """One row of a dot chart: a value, its interval if it has one, and the colour number of what it
    belongs to."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    series: int = 0


@dataclass(frozen=True)
class Series:
    """One line: points (x, y) in the order of x, and the colour number of what it belongs to."""

    label: str
    points: Sequence[tuple[float, float]]
    series: int = 0


@dataclass(frozen=True)
class Point:
    """One marker of a scatter chart, and the colour number of what it belongs to."""

    label: str
    x: float
    y: float
    series: int = 0


@dataclass(frozen=True)
class Scale:
    """A map from values to SVG units; `low` and `high` are the ends of the axis, `ticks` lie
    between them."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of `value`."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.stop - self.start) * (at - low) / (high - low)


def nice_ticks(low: float, high: float, *, about: int = 4) -> tuple[float, ...]:
    """Round numbers from at or below `low` to at or above `high`, in steps of 1, 2 or 5 times a
    power of ten.

    Ends that are equal, or as good as, are widened to zero: the axis of a constant still has a
    length.
    """
    low, high = (0.0 if abs(end) < LEAST_NUMBER else end for end in (low, high))
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = min(low, 0.0), max(high, 0.0) if high or low else 1.0
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(
        factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999999
    )
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))


def number(value: float) -> str:
    """A tick's text: as few digits as tell it, thousands as k, a real minus sign."""
    if abs(value) >= 1000 and value % 100 == 0:
        return f"{value / 1000:g}k".replace("-", "\u2212")
    return f"{value:.6g}".replace("-", "\u2212")


def dot_chart(
    name: str,
    rows: Sequence[Dot],
    *,
    title: str,
    description: str,
    axis: str,
    digits: int = 3,
    signed: bool = False,
) -> Markup:
    """A Cleveland dot chart with interval whiskers, one row a `Dot`, zero always on the axis.

    `name` is unique on the page (it makes the ids); `digits` is for the value printed beside each
    row, `signed` puts a plus before positive ones. Raises `ValueError` for no rows or a number that
    is not finite.
    """
    if not rows:
        raise ValueError("a chart needs at least one row")
    ends = _finite(
        [v for row in rows for v in (row.value, row.low, row.high) if v is not None] + [0.0]
    )
    bottom = TOP + ROW_HEIGHT * len(rows)
    left = 14 + LABEL_WIDTH * _longest([row.label for row in rows])
    scale = _value_scale(min(ends), max(ends), left)
    parts = [
        _vertical_grid(scale, TOP, bottom),
        _axis_title(axis, (scale.start + scale.stop) / 2, bottom + 31),
    ]
    for place, row in enumerate(rows):
        text = f"{row.value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212")
        parts.append(_dot_row(row, TOP + ROW_HEIGHT * (place + 0.5), scale, text))
    return drawing.svg(name, bottom + BOTTOM, title, description, parts)


def line_chart(
    name: str,
    lines: Sequence[Series],
    *,
    title: str,
    description: str,
    axis: str,
    log: bool = False,
    zero: bool = True,
) -> Markup:
    """Lines with a marker at each point and their names at their right ends, moved apart where they
    would collide; above the chart where the lines end at different x, so that nothing crosses.

    `log` takes logarithms of x and puts ticks at the points' own x; `zero` keeps zero on the y
    axis. Raises `ValueError` for a line without points or a number that is not finite.
    """
    if not lines or any(not line.points for line in lines):
        raise ValueError("a chart needs at least one line, and each line a point")
    above = len({line.points[-1][0] for line in lines}) > 1
    top = TOP + (LABEL_GAP * math.ceil(len(lines) / 2) if above else 0)
    bottom = top + max(LINE_HEIGHT, 0 if above else LABEL_GAP * len(lines))
    xs = sorted({float(x) for x in _finite([x for line in lines for x, _ in line.points])})
    beside = 0 if above else SMALL_LABEL_WIDTH * _longest([line.label for line in lines])
    right = drawing.WIDTH - (8 if above else 30) - beside
    x_scale = _x_scale(xs, right, log=log)
    values = _finite([y for line in lines for _, y in line.points] + ([0.0] if zero else []))
    ticks = nice_ticks(min(values), max(values))
    y_scale = Scale(ticks[0], ticks[-1], bottom, top, ticks)
    parts = [_horizontal_grid(y_scale, right), _x_ticks(x_scale, bottom)]
    parts.append(_axis_title(axis, (x_scale.start + x_scale.stop) / 2, bottom + 31))
    parts += [_line(line, x_scale, y_scale) for line in lines]
    parts.append(_legend(lines) if above else _end_labels(lines, x_scale, y_scale, bottom))
    return drawing.svg(name, bottom + BOTTOM, title, description, parts)


def scatter_chart(
    name: str,
    points: Sequence[Point],
    *,
    title: str,
    description: str,
    axis: str,
    front: Sequence[int],
    log: bool = False,
) -> Markup:
    """Named markers, and a dashed line through the points `front` (their places), which no other
    one beats.

    `log` takes logarithms of x where all are above zero. Raises `ValueError` for no points or a
    number that is not finite.
    """
    if not points:
        raise ValueError("a chart needs at least one point")
    bottom = TOP + max(LINE_HEIGHT, LABEL_GAP * len(points))
    xs, ys = (_finite([getattr(point, end) for point in points]) for end in ("x", "y"))
    x_scale = _spread_scale(min(xs), max(xs), log=log and min(xs) > 0)
    ticks = nice_ticks(min([0.0, *ys]), max(ys))
    y_scale = Scale(ticks[0], ticks[-1], bottom, TOP, ticks)
    places = [(x_scale(point.x), y_scale(point.y)) for point in points]
    path = "M" + "L".join(
        f"{drawing.at(x)} {drawing.at(y)}" for x, y in sorted(places[place] for place in front)
    )
    parts = [
        _horizontal_grid(y_scale, x_scale.stop),
        _x_ticks(x_scale, bottom),
        drawing.tag("path", d=path, class_="front"),
    ]
    parts.append(_axis_title(axis, (x_scale.start + x_scale.stop) / 2, bottom + 31))
    parts += [
        drawing.marker(point.series, x, y, size=4.8)
        for point, (x, y) in zip(points, places, strict=True)
    ]
    parts += _point_labels(points, places, bottom)
    return drawing.svg(name, bottom + BOTTOM, title, description, parts)


def _spread_scale(low: float, high: float, *, log: bool) -> Scale:
    """An x axis with room on either side of its values, and round ticks."""
    start, stop = LINE_LEFT, drawing.WIDTH - 48
    if not log:
        ticks = nice_ticks(min(0.0, low), high)
        return Scale(ticks[0], ticks[-1], start, stop, ticks)
    low, high = low / 1.6, high * 1.6
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 300 else (1,)
    ticks = tuple(float(f"{factor * 10.0**decade:.6g}") for decade in decades for factor in factors)
    inside = tuple(tick for tick in ticks if low <= tick <= high)
    return Scale(low, high, start, stop, inside[:: 1 + len(inside) // 7], log=True)


def _point_labels(
    points: Sequence[Point], places: Sequence[tuple[float, float]], bottom: float
) -> list[Markup]:
    """Each point's name beside it."""
    texts = [_short(point.label) for point in points]
    widths = [SMALL_LABEL_WIDTH * len(text) for text in texts]
    names = labelling.beside(places, widths, labelling.Box(0, 0, drawing.WIDTH, bottom))
    return [
        drawing.text(name.x, name.y, text, class_="label small", text_anchor=name.anchor)
        for name, text in zip(names, texts, strict=True)
    ]


def _value_scale(low: float, high: float, left: float) -> Scale:
    """From end to end of the values and no farther: an axis to the next tick would waste the
    width."""
    right = drawing.WIDTH - DOT_RIGHT
    ticks = nice_ticks(low, high, about=int((right - left) / TICK_WIDTH))
    if low == high:
        low, high = ticks[0], ticks[-1]
    inside = tuple(tick for tick in ticks if low <= tick <= high)
    return Scale(low, high, left, right, inside)


def _finite(values: list[float]) -> list[float]:
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a chart takes finite numbers only")
    return values


def _x_scale(values: Sequence[float], stop: float, *, log: bool) -> Scale:
    start = LINE_LEFT
    if log and values[0] > 0 and len(values) > 1:
        return Scale(values[0], values[-1], start, stop, tuple(values), log=True)
    ticks = nice_ticks(values[0], values[-1])
    if len(values) == 1:
        return Scale(ticks[0], ticks[-1], start, stop, (values[0],))
    inside = tuple(tick for tick in ticks if values[0] <= tick <= values[-1])
    if all(float(value).is_integer() for value in values):
        inside = tuple(tick for tick in inside if float(tick).is_integer())  # no half an epoch
    return Scale(values[0], values[-1], start, stop, inside)


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Places with at least `gap` between neighbours, in the order of `wanted`, all within `low` to
    `high` if they fit.

    Without those ends they are the nearest to `wanted` in the least squares: isotonic regression of
    `wanted[i] - i gap` by pooling adjacent violators (Barlow et al. 1972), whose pools are centred
    on what they hold.
    """
    order = sorted(range(len(wanted)), key=lambda index: (wanted[index], index))
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, size = (before * many + mean * size) / (many + size), many + size
        pools.append((mean, size))
    starts = [mean for mean, size in pools for _ in range(size)]
    last = max(low, high - gap * (len(wanted) - 1))
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = min(max(starts[rank], low), last) + rank * gap
    return places


def _dot_row(row: Dot, y: float, scale: Scale, text: str) -> Markup:
    parts = [
        drawing.text(scale.start - 10, y + 4, _short(row.label), class_="label", text_anchor="end")
    ]
    parts.append(drawing.rule(scale.start, y, scale.stop, y, "leader"))
    hint = f"{row.label}: {text}"
    if row.low is not None and row.high is not None:
        hint += f", interval {number(row.low)} to {number(row.high)}"
        left, right = scale(row.low), scale(row.high)
        parts.append(drawing.rule(left, y, right, y, f"whisker {drawing.colour(row.series)}"))
        parts += [
            drawing.rule(end, y - 4, end, y + 4, f"whisker {drawing.colour(row.series)}")
            for end in (left, right)
        ]
    parts.append(drawing.marker(row.series, scale(row.value), y, size=4.4))
    parts.append(drawing.text(drawing.WIDTH - 4, y + 4, text, class_="value", text_anchor="end"))
    return drawing.tag("g", drawing.tag("title", escape(hint)), *parts)


def _line(line: Series, x_scale: Scale, y_scale: Scale) -> Markup:
    places = [(x_scale(x), y_scale(y)) for x, y in line.points]
    path = "M" + "L".join(f"{drawing.at(x)} {drawing.at(y)}" for x, y in places)
    parts = [
        drawing.tag("title", escape(line.label)),
        drawing.tag("path", d=path, class_=f"line {drawing.colour(line.series)}"),
    ]
    return drawing.tag("g", *parts, *_markers(line.series, places))


def _markers(series: int, places: Sequence[tuple[float, float]], most: int = 12) -> list[Markup]:
    """A marker at every point of a short line; at the end only of a long one, where they would hide
    it."""
    return [
        drawing.marker(series, x, y) for x, y in (places if len(places) <= most else places[-1:])
    ]


def _end_labels(lines: Sequence[Series], x_scale: Scale, y_scale: Scale, bottom: float) -> Markup:
    ends = [(x_scale(line.points[-1][0]), y_scale(line.points[-1][1])) for line in lines]
    places = spread([y for _, y in ends], gap=LABEL_GAP, low=TOP, high=bottom)
    left = x_scale.stop + 15
    parts = []
    for line, (x, y), place in zip(lines, ends, places, strict=True):
        parts.append(
            drawing.rule(x + 5, y, left - 2, place, f"pointer {drawing.colour(line.series)}")
        )
        parts.append(drawing.marker(line.series, left + 4, place))
        parts.append(drawing.text(left + 12, place + 4, _short(line.label), class_="label small"))
    return drawing.tag("g", *parts)


def _legend(lines: Sequence[Series]) -> Markup:
    """The lines' names with their markers, in two columns above the chart."""
    parts = []
    for place, line in enumerate(lines):
        x, y = 8 + (drawing.WIDTH / 2) * (place % 2), TOP + LABEL_GAP * (place // 2) - 2
        parts.append(drawing.marker(line.series, x, y))
        parts.append(drawing.text(x + 8, y + 4, _short(line.label), class_="label small"))
    return drawing.tag("g", *parts)


def _vertical_grid(scale: Scale, top: float, bottom: float) -> Markup:
    parts = [
        drawing.rule(scale(tick), top, scale(tick), bottom, "zero" if tick == 0 else "grid")
        for tick in scale.ticks
    ]
    return drawing.tag("g", *parts, _x_ticks(scale, bottom))


def _x_ticks(scale: Scale, bottom: float) -> Markup:
    texts = [
        drawing.text(scale(tick), bottom + 15, number(tick), class_="tick", text_anchor="middle")
        for tick in scale.ticks
    ]
    return drawing.tag("g", *texts)


def _horizontal_grid(scale: Scale, right: float) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = scale(tick)
        parts.append(drawing.rule(LINE_LEFT, y, right, y, "zero" if tick == 0 else "grid"))
        parts.append(
            drawing.text(LINE_LEFT - 7, y + 4, number(tick), class_="tick", text_anchor="end")
        )
    return drawing.tag("g", *parts)


def _axis_title(text: str, x: float, y: float) -> Markup:
    return drawing.text(x, y, text, class_="axis", text_anchor="middle")


def _longest(labels: Sequence[str]) -> int:
    return max(len(_short(label)) for label in labels)


def _short(label: str) -> str:
    """Both ends of a long label: names of runs begin alike, and differ at the end."""
    half = LABEL_CHARACTERS // 2
    return label if len(label) <= LABEL_CHARACTERS else f"{label[:half]}\u2026{label[-half:]}"
