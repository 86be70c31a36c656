"""The data card: what a dataset was made of and what was left out, as JSON and as a page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from falconer.pipelines import page, parquet
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import COLUMNS
from falconer.pipelines.data.shown_rows import shown_rows
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import read_json, write_json, write_text
from falconer.pipelines.page import Column, Table

MOST_ROWS = 20
"""Of the quarantine that the page shows."""
UNIQUE = {True: "yes", False: "no", None: "not told"}
"""Of a column with very many values it is not told."""


def card_of(data: Dataset) -> dict[str, Any]:
    """The card: `name`, `dataset_id`, `split`, `columns`, `counts`, `drops`, `id_spaces`,
    `features`, `quarantine` (rows by table), `sources`, `notes`. Keys stay from release to release.

    Raises `ArtifactError` for a dataset that an older release built.
    """
    if COLUMNS not in data.card.content:
        raise ArtifactError(
            f"{data.path}: built by an older release, which did not describe its columns; rebuild "
            "it with `falconer etl`"
        )
    data.check(COLUMNS)
    card = data.card
    left_out = ("dropped: ", "rejected: ")
    return {
        "name": card.name,
        "dataset_id": card.dataset_id,
        "split": card.split.description,
        "columns": read_json(data.path / COLUMNS),
        "counts": card.counts,
        "drops": {name: n for name, n in card.counts.items() if any(w in name for w in left_out)},
        "id_spaces": {
            "generations": list(card.id_space.generations),
            "users": card.n_users,
            "items": card.n_items,
        },
        "features": [
            {"name": f.name, "table": f.table, "kind": f.kind, "cardinality": f.cardinality}
            for f in card.features
        ],
        "quarantine": {name: data.table(file).num_rows for name, file in _quarantine(data)},
        "sources": card.sources,
        "notes": list(card.notes),
    }


def write_page(dataset: Path, out: Path) -> Path:
    """Write `card.json` and `card.html` of a dataset below `out`; returns the page's path."""
    data = Dataset.open(dataset)
    card = card_of(data)
    write_json(out / "card.json", card)
    write_text(out / "card.html", render(data, card))
    return out / "card.html"


def render(data: Dataset, card: dict[str, Any]) -> str:
    """The card's page, with the first rows of the quarantine."""
    rejected = [_rejected(data, name, file) for name, file in _quarantine(data)]
    context = {
        "title": f"Data card of {card['name']}",
        "sections": [
            ("columns", "Columns"),
            ("counts", "Counts"),
            ("ids", "Ids and features"),
            ("quarantine", "Quarantine"),
            ("origin", "Origin"),
        ],
        "facts": [
            ("Train events", page.count(data.card.counts["train_events"])),
            ("Users", page.count(data.card.n_users)),
            ("Items", page.count(data.card.n_items)),
            ("Left out", page.count(sum(card["drops"].values()))),
            ("Dataset", card["dataset_id"]),
        ],
        "split": card["split"],
        "columns": _columns(card["columns"]),
        "drops": _counted("drops", "Rows left out, by reason", card["drops"]),
        "counts": _counted("all-counts", "All counts", card["counts"]),
        "generations": card["id_spaces"]["generations"],
        "features": _features(card["features"]),
        "rejected": rejected,
        "sources": _pairs("sources", "Files that were read", card["sources"]),
        "notes": card["notes"],
    }
    return page.render("falconer.pipelines", "data_card.html", context)


def _quarantine(data: Dataset) -> list[tuple[str, str]]:
    files = sorted(name for name in data.card.content if name.startswith("rejected/"))
    return [(Path(name).stem, name) for name in files]


def _rejected(data: Dataset, name: str, file: str) -> Table:
    data.check(file)
    table = parquet.read(data.path / file)
    names = ["row", "reason", *(n for n in table.column_names if n not in ("row", "reason"))]
    rows = shown_rows(table.slice(0, MOST_ROWS))
    shown = f"the first {MOST_ROWS} of {page.count(table.num_rows)}"
    caption = f"Rows of {name} that were refused, as they came: {shown}"
    cells = tuple(tuple(_text(row[n]) for n in names) for row in rows)
    return Table(f"rejected-{name}", caption, tuple(Column(n) for n in names), cells)


def _columns(columns: list[dict[str, Any]]) -> Table:
    figures = ("Nulls", "Distinct", "Least", "Mean", "Most")
    rows = []
    for one in columns:
        shares = (page.percent(one["nulls"] / max(one["rows"], 1)), page.count(one["distinct"]))
        ends = tuple(_figure(one, key) for key in ("least", "mean", "most"))
        rows.append((one["name"], one["type"], UNIQUE[one["unique"]], *shares, *ends))
    heads = (Column("Column"), Column("Type"), Column("Unique"))
    return Table(
        "columns-table",
        "Columns of the events after cleaning",
        (*heads, *(Column(name, numeric=True) for name in figures)),
        tuple(rows),
    )


def _figure(one: dict[str, Any], key: str) -> str:
    value = one[key]
    if value is None or one["name"] in ("user", "item"):
        return ""
    if one["name"] == "time":
        return f"{datetime.fromtimestamp(int(value), UTC):%Y-%m-%d %H:%M}"
    return page.count(value) if isinstance(value, int) else page.decimal(value, digits=3)


def _features(features: list[dict[str, Any]]) -> Table:
    rows = tuple(
        (f["name"], f["table"], f["kind"], page.count(f["cardinality"]) if f["cardinality"] else "")
        for f in features
    )
    heads = (Column("Feature"), Column("Of"), Column("Kind"), Column("Categories", numeric=True))
    return Table("features-table", "Encoded features", heads, rows)


def _counted(name: str, caption: str, counts: dict[str, int]) -> Table:
    rows = tuple((key, page.count(n)) for key, n in counts.items())
    return Table(name, caption, (Column("What"), Column("Rows", numeric=True)), rows)


def _pairs(name: str, caption: str, pairs: dict[str, str]) -> Table:
    heads = (Column("File"), Column("SHA-256, first digits"))
    return Table(name, caption, heads, tuple((key, sha[:16]) for key, sha in pairs.items()))


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:80]
