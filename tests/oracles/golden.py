"""What libraries said about the cases, recorded small: `tests/golden/rosetta/<library>.json`.

A file keeps each value on the degenerate cases, and of the random ones the mean and a mean with
random weights: a conversion that gives another value somewhere does not give both.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from falconer.recsys.metrics.conversions import Values
from falconer.recsys.metrics.ranked import Ranked
from falconer.recsys.metrics.translate import Translation
from tests.oracles.cases import N_RANDOM, Case

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "rosetta"

Value = float | str | None
"""A library's value; None = it has none, "error" = it refused."""


def values_of(case: Case) -> Values:
    """Our values of a case."""
    width = max(1, *map(len, case["lists"]), case["k"])
    items = np.full((len(case["lists"]), width), -1, np.int32)
    hits = np.zeros(items.shape, np.bool_)
    for row, (listed, truth) in enumerate(zip(case["lists"], case["truth"], strict=True)):
        items[row, : len(listed)] = listed
        hits[row, : len(listed)] = [item in truth for item in listed]
    n_relevant = np.array([len(truth) for truth in case["truth"]], np.int64)
    had = np.array([item for items in case["train"] for item in items], np.int64)
    counts = np.bincount(had, minlength=case["n_items"])
    return Values(Ranked(items, hits, n_relevant), counts, len(case["train"]), case["k"])


def ours(row: Translation, values: Values) -> Value:
    """Our value in the library's terms."""
    value = row.convert(values)
    return None if math.isnan(value) else value


def holds_for(row: Translation, case: Case) -> bool:
    """Whether the row says anything about the case."""
    return not row.full_lists or all(len(listed) >= case["k"] for listed in case["lists"])


def same(row: Translation, first: Value, second: Value) -> bool:
    """Whether two values are one within the row's tolerance."""
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= row.tolerance * max(1.0, abs(first))
    return first == second


def fingerprint(cases: Sequence[Case]) -> str:
    """Of the cases, so that a record of other cases is noticed."""
    return hashlib.sha256(json.dumps(cases).encode()).hexdigest()[:16]


def digest(cases: Sequence[Case], values: Sequence[Value], row: Translation) -> dict[str, Any]:
    """What is recorded of one row's values, ours or the library's."""
    held = [
        value if holds_for(row, case) else "-" for case, value in zip(cases, values, strict=True)
    ]
    weights = random.Random(1)
    known = [(weights.random(), value) for value in held[:N_RANDOM]]
    numbers = [(weight, value) for weight, value in known if isinstance(value, float)]
    return {
        "n": len(numbers),
        "without": [sum(value == kind for _, value in known) for kind in (None, "error")],
        "mean": sum(value for _, value in numbers) / len(numbers),
        "weighted": sum(weight * value for weight, value in numbers) / len(numbers),
        "degenerate": held[N_RANDOM:],
    }


def path_of(library: str) -> Path:
    """Where a library's record is."""
    return FOLDER / f"{library}.json"


def write(
    library: str, version: str, cases: Sequence[Case], digests: dict[str, dict[str, Any]]
) -> None:
    """Record a library's values."""
    FOLDER.mkdir(exist_ok=True)
    record = {"library": library, "version": version, "cases": fingerprint(cases)}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in digests.items())
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in record.items())
    path_of(library).write_text(f'{{{head}"values": {{\n{rows}\n}}}}\n', encoding="utf-8")


def read(library: str) -> dict[str, Any]:
    """A library's record."""
    return dict(json.loads(path_of(library).read_text(encoding="utf-8")))
