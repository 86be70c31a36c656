"""Values that pydantic would take for others: `true` for the number 1, `"5"` for the number 5, 1 or
"yes" for a switch. A recipe that says one of them means something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def refusing(schema: CoreSchema) -> CoreSchema:
    """A model's schema whose numbers and switches take their own kind only; the models within it
    have been through here themselves."""
    return {**schema, "schema": _within(schema["schema"])} if "schema" in schema else schema


def _within(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(map(_within, node))
    if not isinstance(node, Mapping) or node.get("type") == "model":
        return node
    found = {key: value if key == "metadata" else _within(value) for key, value in node.items()}
    if node.get("type") == "union":  # the label is what a message calls the choice
        pairs = zip(node["choices"], found["choices"], strict=True)
        found["choices"] = [(to, was["type"]) if to != was else to for was, to in pairs]
    check = CHECKS.get(str(node.get("type")))
    return core_schema.no_info_before_validator_function(check, found) if check else found


def number(value: Any) -> Any:
    """`value`, unless it is a switch or a text."""
    if isinstance(value, bool):
        raise _error(f"a number is wanted, which {str(value).lower()} is not")
    if isinstance(value, str):
        text = value.strip()
        digits = text.lstrip("+-").replace(".", "", 1)
        advice = f": write {text} without quotes" if digits.isdigit() else ""
        raise _error(f"a number is wanted{advice}")
    return value


def switch(value: Any) -> Any:
    """`value`, unless it is a number or a text."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        raise _error("true or false is wanted, without quotes")
    return value


CHECKS = {"int": number, "float": number, "bool": switch}


def _error(message: str) -> PydanticCustomError:
    return PydanticCustomError("look_alike", "{message}", {"message": message})
