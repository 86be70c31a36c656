"""Values that pydantic would take for others: `true` for the number 1, `"5"` for the number 5, 1 or
"yes" for a switch. A recipe that says one of them means something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]
"""Pydantic's core schema: nested tables with a `type` each."""
LEFT = ("metadata", "serialization")


def refusing(schema: Any, model: type) -> Any:
    """The schema of `model` whose numbers and switches take their own kind only; the models within
    it have been through here themselves."""
    if isinstance(schema, list | tuple):
        return type(schema)(refusing(one, model) for one in schema)
    if not isinstance(schema, Mapping) or schema.get("cls", model) is not model:
        return schema
    kind = schema.get("type")
    if kind == "function-before" and schema["function"]["function"] in CHECKS.values():
        return schema  # pydantic hands a schema that was made before over again
    found = {key: one if key in LEFT else refusing(one, model) for key, one in schema.items()}
    if kind == "union":  # the label is what a message calls the choice
        pairs = zip(schema["choices"], found["choices"], strict=True)
        found["choices"] = [to if to == was else (to, was["type"]) for was, to in pairs]
    check = CHECKS.get(str(kind))
    return _behind(check, found) if check else found


def _behind(check: Callable[[Any], Any], schema: Schema) -> Schema:
    """The schema for what has passed the check."""
    function = {"type": "no-info", "function": check}
    return {"type": "function-before", "function": function, "schema": schema}


def number(value: Any) -> Any:
    """`value`; `ValueError` where it is a switch or a text."""
    if isinstance(value, bool):
        raise ValueError(f"a number is wanted, which {str(value).lower()} is not")
    if isinstance(value, str):
        text = value.strip()
        digits = text.lstrip("+-").replace(".", "", 1)
        advice = f": write {text} without quotes" if digits.isdigit() else ""
        raise ValueError(f"a number is wanted{advice}")
    return value


def switch(value: Any) -> Any:
    """`value`; `ValueError` where it is a number or a text."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        raise ValueError("true or false is wanted, without quotes")
    return value


CHECKS = {"int": number, "float": number, "bool": switch}
