"""Configuration of DLRM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.features import FieldsConfig
from falconer.recsys.configs.pairs import Width


class DlrmConfig(FieldsConfig):
    """Naumov et al. 2019: dot products between the fields' vectors, and layers above them.

    The continuous features of a side become one more vector of that side, through layers of their
    own; a side without continuous features has no such vector.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "bottom_layers": "bottom_hidden",
        "top_layers": "hidden",
    }
    bottom_hidden: tuple[Width, ...] = (64,)
    """Widths of the layers between the continuous features and their vector, which has `dim`
    numbers."""
    hidden: tuple[Width, ...] = Field(default=(128, 64), min_length=1)
    """Widths of the hidden layers above the dot products."""
