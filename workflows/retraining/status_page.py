"""The page on a pipeline: what serves, how each window ended, and why the last one changed
nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts, page
from falconer.pipelines.files import write_text
from falconer.pipelines.page import Column, Table
from falconer.workflows.retraining import champions
from falconer.workflows.retraining.places import PAGE, STATUS_PAGE, Places
from falconer.workflows.retraining.verdict_page import PACKAGE, badge, short

SHOWN = 60
"""The newest windows on the page; `falconer status --json` has them all."""
DRIFT = "drift of "
LINES = 8
"""In a chart: so many colours tell models apart."""

Found = Mapping[str, Any]


def write(places: Places, found: Found) -> Path:
    """Write the page of `status.status`'s result into the registry; returns its path.

    Raises `ArtifactError` where the history of champions is damaged.
    """
    path = places.registry / STATUS_PAGE
    write_text(path, render(found, champions.history(places)))
    return path


def render(found: Found, history: Sequence[Mapping[str, Any]]) -> str:
    """The page's HTML: the result of `status.status`, and the changes of the champion."""
    windows = found["windows"][-SHOWN:]
    last = next((one for one in reversed(windows) if one["outcome"] != "promote"), None)
    metrics, health = _metrics(windows), _health(windows)
    context = {
        "title": f"{found['pipeline']}: retraining",
        "sections": _contents(has_last=last is not None, has_charts=bool(metrics or health)),
        "facts": _facts(found),
        "alarms": found["alarms"],
        "workflows": [
            (f"{name}: {one}") for name in ("unfinished", "failed") for one in found[name]
        ],
        "last": last,
        "last_badge": badge(last["outcome"]) if last else "",
        "metrics": metrics,
        "health": health,
        "windows": _windows(found["pipeline"], windows),
        "hidden": len(found["windows"]) - len(windows),
        "champions": _champions(history),
    }
    return page.render(PACKAGE, "status.html", context)


def _contents(*, has_last: bool, has_charts: bool) -> list[tuple[str, str]]:
    last = [("last", "Last refusal")] if has_last else []
    drawn = [("figures", "Over time")] if has_charts else []
    return [("summary", "Now"), *last, *drawn, ("windows", "Windows"), ("champions", "Champions")]


def _facts(found: Found) -> list[tuple[str, str]]:
    now = found["champion"]
    windows = found["windows"]
    return [
        ("Champion", now["champion"]["label"] if now else "none yet"),
        ("Judged on the window", now["champion"]["window"] if now else "none"),
        ("Before it", now["previous"]["label"] if now and now["previous"] else "none"),
        ("Windows decided", page.count(len(windows))),
        ("Promoted", page.count(sum(one["outcome"] == "promote" for one in windows))),
        ("Alarms", page.count(len(found["alarms"]))),
    ]


def _metrics(windows: Sequence[Found]) -> Markup | None:
    """The metric of champion, challengers and baselines over the windows."""
    names = dict.fromkeys(name for one in windows for name in one["means"] if name != "anchor")
    return _lines(
        "metrics",
        {name: [one["means"].get(name) for one in windows] for name in names},
        windows,
        title="The metric over windows",
    )


def _health(windows: Sequence[Found]) -> Markup | None:
    """Drift of each distribution (PSI against the window before), and the share of new items."""
    names = dict.fromkeys(name for one in windows for name in one["health"])
    shown = [name for name in names if name.startswith(DRIFT) or name == "new items"]
    return _lines(
        "health",
        {
            name.removeprefix(DRIFT).removeprefix("the "): [
                one["health"].get(name) for one in windows
            ]
            for name in shown
        },
        windows,
        title="Drift over windows",
    )


def _lines(
    name: str,
    values: Mapping[str, Sequence[float | None]],
    windows: Sequence[Found],
    *,
    title: str,
) -> Markup | None:
    """A line for each name through the windows that have a value for it."""
    lines = []
    for number, (label, row) in enumerate(list(values.items())[:LINES]):
        points = [(float(at), value) for at, value in enumerate(row, start=1) if value is not None]
        if points:
            lines.append(charts.Series(label, points, number))
    if not lines:
        return None
    spoken = "; ".join(f"{line.label} now {page.decimal(line.points[-1][1])}" for line in lines)
    first, last = windows[0]["window"], windows[-1]["window"]
    return charts.line_chart(
        name,
        lines,
        title=title,
        description=f"Windows {first} to {last}: {spoken}.",
        axis=f"window, 1 = {first}, {len(windows)} = {last}",
    )


def _windows(pipeline: str, windows: Sequence[Found]) -> Table:
    rows = tuple(
        (
            _link(pipeline, one["window"]),
            badge(one["outcome"]) + " " + page.with_note(one["challenger"] or "", one["reason"]),
            page.seconds(one["seconds"]),
            f"{one['skipped']} of {one['steps']}",
        )
        for one in reversed(windows)
    )
    columns = (
        Column("Window"),
        Column("Outcome"),
        Column("Work", numeric=True),
        Column("Steps done already", numeric=True),
    )
    return Table("windows-table", "Windows, the newest first", columns, rows)


def _link(pipeline: str, window: str) -> Markup:
    return Markup('<a href="../../windows/{}/{}/{}">{}</a>').format(pipeline, window, PAGE, window)


def _champions(history: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            one["champion"]["since"],
            one["champion"]["champion"]["label"],
            page.with_note(one["by"], one.get("reason", "every rule held")),
            Markup("<code>{}</code>").format(short(one["champion"]["decision"])),
        )
        for one in reversed(history)
    )
    columns = (Column("Window"), Column("Model"), Column("By"), Column("Decision"))
    return Table("champions-table", "Every change, the newest first", columns, rows)
