"""Every HTML page of the project: one self-contained file, readable with no network, on a phone, in
the dark, on paper.

A page is a Jinja2 template in the `page_assets` folder of its package that extends `base.html`
here. All text is escaped (labels come from data that nobody vetted), and a content security policy
forbids every request and every script and style but our own two, which it names by their hashes.
The same context gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from falconer.pipelines import drawing

ASSETS = "page_assets"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Column:
    """A table's column; numbers stand at the right, in figures of one width."""

    label: str
    numeric: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first cell of each row is the row's heading. Cells are text or
    `Markup`.

    `name` is unique on the page. Raises `ValueError` for a row of another length than `columns`.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.name}: every row needs {len(self.columns)} cells")


def render(package: str, template: str, context: Mapping[str, object]) -> str:
    """The page's HTML. `template` is a file of `package`'s `page_assets` that extends `base.html`.

    `context` holds at least `title`. A name that the template uses and the context lacks raises
    jinja2's `UndefinedError`. Characters that HTML cannot hold (control characters, lone
    surrogates) become U+FFFD.
    """
    html = _environment(package).get_template(template).render(context)
    return _UNPRINTABLE.sub("\ufffd", html)


@cache
def _environment(package: str) -> Environment:
    """The templates of `package` before those of this one; everything is escaped unless it is
    `Markup`."""
    loader = ChoiceLoader(
        [PackageLoader(package, ASSETS), PackageLoader("falconer.pipelines", ASSETS)]
    )
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (
        resources.files("falconer.pipelines").joinpath(ASSETS, name).read_text("utf-8")
        for name in ("page.css", "page.js")
    )
    environment.filters["breakable"] = breakable
    environment.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src "
        f"{_source(script)}; "
        "base-uri 'none'; form-action 'none'",
        "swatch": drawing.swatch,
    }
    return environment


def _source(text: str) -> str:
    """The content security policy's name for an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def with_note(text: str, note: str) -> Markup:
    """A cell of two lines: `text`, and `note` smaller below it."""
    return Markup('{}<small class="note">{}</small>').format(text, note)


def sentence(text: str) -> Markup:
    """A cell with a sentence, which a narrow screen gives more than a column of figures."""
    return Markup('<span class="sentence">{}</span>').format(text) if text else Markup("")


def span(low: float, high: float) -> str:
    """An interval in words; one without width, as of a mean of equal values, claims nothing."""
    return "no spread" if low == high else f"{decimal(low)} to {decimal(high)}"


def breakable(label: str) -> Markup:
    """A label that may break after an underscore; `Markup` stays as it is."""
    return (
        label
        if isinstance(label, Markup)
        else Markup("_<wbr>").join(escape(part) for part in label.split("_"))
    )


def count(value: float) -> str:
    """A whole number with thousands apart: 1,469,307."""
    return f"{value:,.0f}".replace("-", "\u2212")


def decimal(value: float, *, digits: int = 4, signed: bool = False) -> str:
    """A number with so many decimals, with a real minus sign, and with a plus where `signed` asks
    for it."""
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "\u2212")


def percent(share: float) -> str:
    """A share of 1 as a percentage with one decimal: 12.3 %."""
    return f"{100 * share:.1f}\u00a0%"


def seconds(value: float) -> str:
    """A duration in the unit that reads best: 0.41 s, 12.3 s, 4 min 05 s, 2 h 07 min."""
    if round(value, 1) < 60:
        return f"{value:.{2 if value < 10 else 1}f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest:02d}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"
