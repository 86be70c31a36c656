"""The knobs of configurations as lines of text, to hold them to what was promised."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "pattern", "enum")
SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties")


def assert_promised(models: Iterable[type[BaseModel]], kept: Path) -> None:
    """The defaults and bounds of `models` are the lines of `kept`, which `FALCONER_ACCEPT=1` writes
    anew: then look at every line that changed, and say it in CHANGELOG."""
    found = list(dict.fromkeys(line for model in models for line in _knobs(model)))
    if os.environ.get("FALCONER_ACCEPT") == "1":
        kept.write_text("\n".join(found) + "\n", encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8").splitlines()


def _knobs(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema()
    for name, one in {**schema.get("$defs", {}), model.__name__: schema}.items():
        for knob, declared in one.get("properties", {}).items():
            facts = list(_facts(declared))
            if facts:
                yield f"{name}.{knob}: {', '.join(facts)}"


def _facts(declared: Mapping[str, Any]) -> Iterator[str]:
    for one in (declared, *declared.get("anyOf", ())):
        for fact in ("default", *BOUNDS, *SIZES):
            if fact in one and one[fact] not in (None, [], {}):
                yield f"{fact} {json.dumps(one[fact])}"
