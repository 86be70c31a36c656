"""Merlin schemas (`schema.pbtxt`) of a dataset's train files and of a model's inputs, for programs
that read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import name_of
from falconer.pipelines.files import write_text

INTEGER, FLOAT = "INT", "FLOAT"
TAGS = {"user": ("user", "user_id", "id"), "item": ("item", "item_id", "id")}
HISTORY_TAGS = ("item", "item_id", "id", "list", "sequence")


def write_schema(dataset: Path, out: Path) -> Path:
    """Write the schema of the columns of `train/*.parquet` to `out`; returns it.

    Ids and categories are integers from -1 (unknown; a source's column without a value) to their
    number less 1.
    """
    data = Dataset.open(dataset)
    sizes = {"user": data.n_users, "item": data.n_items}
    sizes |= {f.column: f.cardinality for f in data.card.features if f.cardinality is not None}
    features = {f.column for f in data.card.features}
    columns = [
        _feature(name, str(kind), sizes.get(name), _tags(name, sizes, features))
        for name, kind in zip(data.train.schema.names, data.train.schema.types, strict=True)
    ]
    write_text(out, "".join(columns))
    return out


def schema_of_inputs(data: Dataset, inputs: Mapping[str, str]) -> str:
    """The schema of a model's inputs: their names, and what each reads: "user", "item", "history"
    (a row of items, -1 behind its end) or a feature of the dataset's events."""
    return "".join(_input(data, name, read) for name, read in inputs.items())


def _input(data: Dataset, name: str, read: str) -> str:
    sizes = {"user": data.n_users, "item": data.n_items, "history": data.n_items}
    if read in sizes:
        tags = TAGS.get(read, HISTORY_TAGS)
        return _feature(name, "int", sizes[read], (*tags, "categorical"), row=read == "history")
    (size,) = (
        f.cardinality for f in data.card.features if f.table == "event" and f.name == name_of(read)
    )
    kind, tag = ("float", "continuous") if size is None else ("int", "categorical")
    return _feature(name, kind, size, (tag,))


def _tags(name: str, sizes: dict[str, int], features: set[str]) -> tuple[str, ...]:
    if name in TAGS:
        return (*TAGS[name], "categorical")
    if name in features:
        return ("context", "categorical" if name in sizes else "continuous")
    return {"time": ("time",), "label": ("target",)}.get(name, ())


def _feature(
    name: str, kind: str, size: int | None, tags: tuple[str, ...], *, row: bool = False
) -> str:
    quoted = json.dumps(name)
    lines = [f"  name: {quoted}", f"  type: {INTEGER if kind.startswith('int') else FLOAT}"]
    if row:
        lines.append("  value_count { min: 1 }")
    if size is not None:
        domain = f"name: {quoted} min: -1 max: {size - 1} is_categorical: true"
        lines.append(f"  int_domain {{ {domain} }}")
    if tags:
        lines.append("  annotation { " + " ".join(f'tag: "{tag}"' for tag in tags) + " }")
    return "feature {\n" + "\n".join(lines) + "\n}\n"
