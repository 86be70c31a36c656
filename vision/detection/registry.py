"""Detectors by name, and their recipes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falconer.pipelines.models.recipe import Recipes
from falconer.pipelines.models.registry import Model, Registry
from falconer.vision.detection.config import SsdConfig

DETECTORS: Mapping[str, Model[SsdConfig]] = {
    "ssd": Model(SsdConfig, {"torch": "falconer.vision.detection.training"})
}
REGISTRY: Registry[SsdConfig, Any, Any] = Registry(
    DETECTORS, group="falconer.detectors", config=SsdConfig
)
RECIPES: Recipes[SsdConfig, Any, Any] = Recipes(
    REGISTRY, Path(__file__).resolve().parents[1] / "recipes"
)
