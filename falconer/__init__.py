"""Falconer: from raw interaction logs to recommendations that someone can trust.

The names below are the public Python API, and are loaded when first used; everything else is
private by convention and may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falconer.workflows.notebook import (
        compare,
        etl,
        evaluate,
        open_dataset,
        predict,
        recommend,
        train,
    )

__all__ = ["compare", "etl", "evaluate", "open_dataset", "predict", "recommend", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'falconer' has no attribute {name!r}")
    return getattr(import_module("falconer.workflows.notebook"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
