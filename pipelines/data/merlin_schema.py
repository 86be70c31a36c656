"""A Merlin schema (`schema.pbtxt`) of a dataset's train files, for programs that read one."""

from __future__ import annotations

import json
from pathlib import Path

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.files import write_text

INTEGER, FLOAT = "INT", "FLOAT"
TAGS = {"user": ("user", "user_id", "id"), "item": ("item", "item_id", "id")}


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


def _tags(name: str, sizes: dict[str, int], features: set[str]) -> tuple[str, ...]:
    if name in TAGS:
        return (*TAGS[name], "categorical")
    if name in features:
        return ("context", "categorical" if name in sizes else "continuous")
    return {"time": ("time",), "label": ("target",)}.get(name, ())


def _feature(name: str, kind: str, size: int | None, tags: tuple[str, ...]) -> str:
    quoted = json.dumps(name)
    lines = [f"  name: {quoted}", f"  type: {INTEGER if kind.startswith('int') else FLOAT}"]
    if size is not None:
        domain = f"name: {quoted} min: -1 max: {size - 1} is_categorical: true"
        lines.append(f"  int_domain {{ {domain} }}")
    if tags:
        lines.append("  annotation { " + " ".join(f'tag: "{tag}"' for tag in tags) + " }")
    return "feature {\n" + "\n".join(lines) + "\n}\n"
