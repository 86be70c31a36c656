"""The pieces of a chart as SVG elements: text, rules, and the marker of each series.

All text is escaped. Colours come from the page's style sheet (`.series-0` to `.series-7`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

WIDTH = 360.0
"""Of every chart, in its own units."""
N_COLOURS = 8


def marker(series: int, x: float, y: float, *, size: float = 3.6) -> Markup:
    """The marker of a series: shape and colour both follow from its number."""
    return tag(
        "path", d=_SHAPES[series % len(_SHAPES)](x, y, size), class_=f"mark {colour(series)}"
    )


def swatch(series: int) -> Markup:
    """A small drawing of a series' marker, to put beside its name in text; decoration, hidden from
    screen readers."""
    drawing = marker(series, 7, 7, size=4.4)
    return tag(
        "svg",
        drawing,
        class_="swatch",
        viewBox="0 0 14 14",
        width="14",
        height="14",
        aria_hidden="true",
    )


def _circle(x: float, y: float, r: float) -> str:
    return (
        f"M{at(x - r)} {at(y)}a{at(r)} {at(r)} 0 1 0 {at(2 * r)} 0a{at(r)} {at(r)} 0 1 0 "
        f"{at(-2 * r)} 0z"
    )


def _polygon(*corners: tuple[float, float]) -> Callable[[float, float, float], str]:
    def draw(x: float, y: float, r: float) -> str:
        return "M" + "L".join(f"{at(x + dx * r)} {at(y + dy * r)}" for dx, dy in corners) + "z"

    return draw


_SHAPES: tuple[Callable[[float, float, float], str], ...] = (
    _circle,
    _polygon((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    _polygon((0, -1.2), (1.15, 0.85), (-1.15, 0.85)),
    _polygon((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    _polygon((0, 1.2), (1.15, -0.85), (-1.15, -0.85)),
    _polygon((-1.2, -0.4), (-0.4, -0.4), (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2,
    0.4), (0.4, 0.4),
             (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4)),
    _polygon((-0.6, -1.05), (0.6, -1.05), (1.2, 0), (0.6, 1.05), (-0.6, 1.05), (-1.2, 0)),
)  # fmt: skip
"""Seven shapes beside eight colours: together they repeat after 56 series only."""


def colour(series: int) -> str:
    """The style class of a series' colour."""
    return f"series-{series % N_COLOURS}"


def rule(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line from (x1, y1) to (x2, y2)."""
    return tag("line", x1=at(x1), y1=at(y1), x2=at(x2), y2=at(y2), class_=class_)


def text(x: float, y: float, text: str, **attributes: str) -> Markup:
    """Text at (x, y), escaped."""
    return tag("text", escape(text), x=at(x), y=at(y), **attributes)


def svg(name: str, height: float, title: str, description: str, parts: Sequence[Markup]) -> Markup:
    """A whole chart: its title and description for readers who do not see it, then its parts."""
    heads = (
        tag("title", escape(title), id=f"{name}-title"),
        tag("desc", escape(description), id=f"{name}-desc"),
    )
    return tag(
        "svg",
        *heads,
        *parts,
        class_="chart",
        viewBox=f"0 0 {at(WIDTH)} {at(height)}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def tag(tag: str, *children: Markup, **attributes: str) -> Markup:
    """An element; attribute names are written in Python's spelling (`class_`, `text_anchor`),
    values are escaped."""
    texts = [
        Markup(' {}="{}"').format(_attribute(name), value) for name, value in attributes.items()
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(
        tag, Markup("").join(texts), Markup("").join(children)
    )


def _attribute(name: str) -> str:
    return name if name == "viewBox" else name.rstrip("_").replace("_", "-")


def at(value: float) -> str:
    """A coordinate with at most two decimals: small files, and the same text on every machine."""
    return f"{round(value, 2) + 0.0:g}"
