from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup

from falconer.pipelines import charts, drawing, labelling, page
from falconer.pipelines.charts import Dot, Series

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'too' </text></svg>"
SVG = "{http://www.w3.org/2000/svg}"
finite = st.floats(-1e12, 1e12)


def dots(*rows: Dot) -> Markup:
    return charts.dot_chart("c", rows, title="T", description="D", axis="x")


def lines(*series: Series, **options: bool) -> Markup:
    return charts.line_chart("c", series, title="T", description="D", axis="x", **options)


def tree(svg: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: Markup, class_: str) -> list[str]:
    return [
        "".join(node.itertext())
        for node in tree(svg).iter("text")
        if class_ in node.get("class", "").split()
    ]


def test_dot_chart_draws_whiskers_where_the_interval_is() -> None:
    svg = dots(Dot("a", 0.5, 0.25, 0.75), Dot("b", 1.0))
    scale = charts.Scale(0.0, 1.0, 14 + charts.LABEL_WIDTH, drawing.WIDTH - charts.DOT_RIGHT, ())
    whisker, *caps = [node for node in tree(svg).iter("line") if "whisker" in node.get("class", "")]
    assert float(whisker.get("x1", "nan")) == pytest.approx(scale(0.25), abs=0.01)
    assert float(whisker.get("x2", "nan")) == pytest.approx(scale(0.75), abs=0.01)
    assert len(caps) == 2
    assert texts(svg, "tick") == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert texts(svg, "value") == ["0.500", "1.000"]


def test_lines_that_end_apart_are_named_above_and_nothing_points_across() -> None:
    together = lines(Series("a", [(0, 0.0), (5, 1.0)]), Series("b", [(0, 0.2), (5, 0.9)]))
    apart = lines(Series("a", [(0, 0.0), (5, 1.0)]), Series("b", [(0, 0.2), (9, 0.9)], 1))
    pointers = [
        [node for node in tree(svg).iter("line") if "pointer" in node.get("class", "")]
        for svg in (together, apart)
    ]
    assert [len(found) for found in pointers] == [2, 0]
    assert texts(apart, "label") == ["a", "b"]


places = st.tuples(st.floats(40, 350), st.floats(10, 200))


@given(st.lists(places, min_size=1, max_size=8, unique=True), st.integers(3, 19))
def test_names_stay_beside_their_points(points: list[tuple[float, float]], letters: int) -> None:
    inside = labelling.Box(0, 0, 360, 210)
    names = labelling.beside(points, [6.5 * letters] * len(points), inside)
    for (x, y), name in zip(points, names, strict=True):
        assert abs(name.x - x) <= labelling.GAP + 1e-9
        assert abs(name.y - y) <= 40


def test_names_of_points_in_a_heap_do_not_cover_each_other() -> None:
    points = [(180.0, 100.0), (183.0, 101.0), (178.0, 103.0)]
    names = labelling.beside(points, [60.0] * 3, labelling.Box(0, 0, 360, 210))
    boxes = [labelling._box(name, 60.0) for name in names]
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(boxes, 2))


def test_line_chart_puts_points_where_they_belong() -> None:
    svg = lines(Series("a", [(1, 0.0), (10, 0.5), (100, 1.0)]), log=True)
    path = next(
        node.get("d", "")
        for node in tree(svg).iter("path")
        if "line" in node.get("class", "").split()
    )
    places = [tuple(float(part) for part in pair.split()) for pair in path[1:].split("L")]
    right = drawing.WIDTH - 30 - charts.SMALL_LABEL_WIDTH
    middle = (charts.LINE_LEFT + right) / 2
    expected = [
        (charts.LINE_LEFT, charts.TOP + 200),
        (middle, charts.TOP + 100),
        (right, charts.TOP),
    ]
    assert places == [(pytest.approx(x, abs=0.01), pytest.approx(y, abs=0.01)) for x, y in expected]
    assert [text for text in texts(svg, "tick") if float(text) >= 1] == ["1", "1", "10", "100"]


def test_charts_say_in_words_what_they_show() -> None:
    root = tree(dots(Dot("a", 0.5)))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "c-title c-desc"
    assert [(node.tag, node.text) for node in list(root)[:2]] == [("title", "T"), ("desc", "D")]


def test_hostile_labels_stay_text() -> None:
    series = Series(HOSTILE, [(0, 1), (1, 2)])
    named = charts.line_chart("c", [series], title=HOSTILE, description=HOSTILE, axis=HOSTILE)
    for svg in (named, dots(Dot(HOSTILE, 1.0))):
        assert "<script" not in svg
        assert HOSTILE in {"".join(node.itertext()) for node in tree(svg).iter("title")} | {
            text.split(": 1.000")[0] for text in tree(svg).itertext()
        }


def test_long_labels_keep_both_ends() -> None:
    assert texts(dots(Dot("20260101-ease-numpy-aaaaaa", 1.0)), "label") == ["20260101-…py-aaaaaa"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_charts_refuse_what_cannot_be_drawn(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        dots(Dot("a", 0.1), Dot("b", value))
    with pytest.raises(ValueError, match="finite"):
        lines(Series("a", [(0, 1), (1, value)]))
    with pytest.raises(ValueError, match="at least one"):
        dots()
    with pytest.raises(ValueError, match="at least one"):
        lines(Series("a", []))


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_charts_of_a_constant_have_an_axis(value: float) -> None:
    for svg in (
        dots(Dot("a", value)),
        lines(Series("a", [(3, value)])),
        lines(Series("a", [(1, value)]), log=True),
    ):
        assert len(texts(svg, "tick")) >= 2
        assert "nan" not in svg


@example(0.0, 5e-324)
@given(finite, finite)
def test_ticks_are_few_even_and_hold_the_range(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = charts.nice_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert ticks[0] <= low + 1e-6 * (ticks[-1] - ticks[0])
    assert ticks[-1] >= high - 1e-6 * (ticks[-1] - ticks[0])
    steps = [after - before for before, after in itertools.pairwise(ticks)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-6)


@given(st.lists(st.floats(0, 200), min_size=1, max_size=13))
def test_labels_are_moved_apart_and_stay_inside_and_in_order(wanted: list[float]) -> None:
    places = charts.spread(wanted, gap=15, low=0, high=200)
    ordered = sorted(places)
    assert all(after - before >= 15 - 1e-9 for before, after in itertools.pairwise(ordered))
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 200 + 1e-9
    pairs = [
        (a, b) for a in range(len(wanted)) for b in range(len(wanted)) if wanted[a] < wanted[b]
    ]
    assert all(places[a] < places[b] for a, b in pairs)


def test_labels_that_collide_spread_around_their_middle() -> None:
    assert charts.spread([100.0, 100.0, 100.0], gap=15, low=0, high=200) == [85.0, 100.0, 115.0]
    assert charts.spread([0.0, 0.0], gap=15, low=0, high=200) == [0.0, 15.0]
    assert charts.spread([200.0, 200.0], gap=15, low=0, high=200) == [185.0, 200.0]


def test_labels_that_do_not_collide_stay_where_they_are() -> None:
    assert charts.spread([100.0, 20.0, 60.0], gap=15, low=0, high=200) == [100.0, 20.0, 60.0]


def test_series_differ_by_shape_and_not_by_colour_alone() -> None:
    drawn = [str(drawing.marker(number, 0, 0)) for number in range(56)]
    assert len(set(drawn)) == 56
    shapes = [re.search(r'd="([^"]*)"', mark) for mark in drawn[:7]]
    assert len({shape.group(1) for shape in shapes if shape}) == 7


def test_page_holds_the_policy_that_names_its_own_style_and_script() -> None:
    html = page.render("falconer.pipelines", "base.html", {"title": "A page", "sections": []})
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy.group(1).startswith("default-src &#39;none&#39;; img-src data:;")
    for tag in ("style", "script"):
        body = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body.group(1).encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy.group(1)
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html
    assert "<style>" in html
    assert " style=" not in html


def test_page_escapes_text_and_replaces_what_html_cannot_hold() -> None:
    html = page.render(
        "falconer.pipelines", "base.html", {"title": "<b>\x00\x1b\ud800</b>", "sections": []}
    )
    assert "<h1>&lt;b&gt;\ufffd\ufffd\ufffd&lt;/b&gt;</h1>" in html
    html.encode("utf-8")


def test_page_is_the_same_for_the_same_context() -> None:
    context = {"title": "A page", "sections": [("one", "One")]}
    page._environment.cache_clear()
    first = page.render("falconer.pipelines", "base.html", context)
    page._environment.cache_clear()
    assert page.render("falconer.pipelines", "base.html", context) == first


def test_page_refuses_a_context_without_what_the_template_uses() -> None:
    with pytest.raises(UndefinedError, match="title"):
        page.render("falconer.pipelines", "base.html", {"sections": []})


def test_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        page.Table("t", "A table", (page.Column("a"), page.Column("b")), (("1", "2"), ("1",)))


def test_cells_escape_and_break() -> None:
    assert page.with_note("<1>", "<2>") == Markup('&lt;1&gt;<small class="note">&lt;2&gt;</small>')
    assert page.breakable("a_<b>") == Markup("a_<wbr>&lt;b&gt;")
    assert page.breakable(Markup("<i>a_b</i>")) == Markup("<i>a_b</i>")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (page.count(1469307), "1,469,307"),
        (page.decimal(-0.01234), "−0.0123"),
        (page.decimal(0.01234, digits=2, signed=True), "+0.01"),
        (page.percent(0.1234), "12.3\u00a0%"),
        (page.seconds(0.414), "0.41\u00a0s"),
        (page.seconds(59.97), "1\u00a0min 00\u00a0s"),
        (page.seconds(245), "4\u00a0min 05\u00a0s"),
        (page.seconds(7620), "2\u00a0h 07\u00a0min"),
        (charts.number(20000), "20k"),
        (charts.number(-0.05), "−0.05"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


def test_between_whole_numbers_an_axis_has_no_halves() -> None:
    assert "1.5" in texts(lines(Series("a", [(1, 0), (1.5, 10), (2, 20)])), "tick")
    assert "1.5" not in texts(lines(Series("a", [(1, 0), (2, 20)])), "tick")
