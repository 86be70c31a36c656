"""A model as a SavedModel of TensorFlow: a folder that TensorFlow reads without Falconer."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from falconer.pipelines.config import parse
from falconer.pipelines.data.merlin_schema import schema_of_inputs
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.exporting.checked_file import FORMAT_VERSION, near_enough
from falconer.pipelines.files import atomic_directory, checksums, write_json, write_text
from falconer.recsys.exporting.export import Export
from falconer.recsys.models.registry import REGISTRY, resolve

ABOUT = "falconer.json"
"""In the folder: what it is of, what it takes and gives, and a checksum of every other file."""
SCHEMA = "schema.pbtxt"


def write(export: Export, out: Path) -> None:
    """Write the folder. One that is there is replaced if it is such an export, else refused."""
    if out.exists() and not (out / ABOUT).is_file():
        raise ConfigError(f"{out}: there is a folder which is no export; name another one")
    served = served_of(export)
    from falconer.recsys.backends.tensorflow import serving

    example = export.questions.example()
    with atomic_directory(out) as partial:
        serving.write(serving.module_of(served, example), str(partial))
        parity = export.questions.compare(serving.answering(str(partial)))
        compared = near_enough(parity, export.config.tolerance)
        inputs = serving.inputs_of(example)
        reads = {one["name"]: one["reads"] for one in inputs}
        write_text(partial / SCHEMA, schema_of_inputs(export.data, reads))
        about = {"format_version": FORMAT_VERSION, **export.facts, "inputs": inputs, **compared}
        write_json(partial / ABOUT, {**about, "content": checksums(partial)})


def served_of(export: Export) -> Any:
    """The model in TensorFlow, whichever of the two backends trained it. Raises `ConfigError` for
    one that has no twin there, and `MissingExtraError` without TensorFlow."""
    card = export.card
    implementation = resolve(card.name, "tensorflow")
    module = import_module(REGISTRY.model_of(card.name).backends["tensorflow"])
    if not hasattr(module, "served"):
        raise ConfigError(f"{card.name}: its package has no form of it for a SavedModel")
    return module.served(export.graph, parse(implementation.config, card.config, "model.json"))
