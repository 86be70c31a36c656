"""A trained model as a directory: the model's own files, and a card that says what they are.

model/
    model.json    the card: name, backend, configuration, and a checksum of every other file
    ...           what the model's `save` wrote: npz, safetensors or JSON, no pickle

A wing adds to the card what its models know of their data (ids, classes) by a subclass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import Field, ValidationError

from falconer.pipelines.config import Config, parse
from falconer.pipelines.console import say
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import (
    atomic_directory,
    checksums,
    identity_of,
    read_json,
    write_json,
)
from falconer.pipelines.models.registry import Implementation, Registry

FORMAT_VERSION = 1
CARD = "model.json"


class Card(Config):
    """The content of `model.json`; fields beyond these are a wing's own."""

    format_version: int = FORMAT_VERSION
    name: str
    backend: str
    package: str | None = None
    """Name and version of the package that brought the model; None for our own."""
    config: dict[str, Any]
    """The whole configuration, all defaults frozen in."""
    content: dict[str, str] = Field(default_factory=dict)
    """Relative path -> sha256 of every other file of the directory; `save` fills it in."""


K = TypeVar("K", bound=Card)


class Savable(Protocol):
    """A model that can write itself down."""

    def save(self, directory: Path) -> None:
        """Write the model's own files into `directory` (which exists)."""


def save(target: Path, model: Savable, card: Card) -> None:
    """Write a model directory: the model's own files and the card, `content` filled in; atomic."""
    with atomic_directory(target) as partial:
        model.save(partial)
        whole = card.model_copy(update={"content": checksums(partial, leave_out=(CARD,))})
        write_json(partial / CARD, whole.model_dump(mode="json"))


def hash_of(directory: Path) -> str:
    """16 hex digits over all files of a model directory; `ArtifactError` where there is none."""
    if not directory.is_dir():
        raise ArtifactError(f"{directory.parent}: has no model")
    return identity_of(checksums(directory))


def read_card(directory: Path, kind: type[K]) -> K:
    """The card of a model directory; `ArtifactError` where it is absent, damaged, or of another
    format version."""
    path = directory / CARD
    values = read_json(path)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format version {version}, this release reads {FORMAT_VERSION}; train anew"
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"{path}: damaged: {error.error_count()} wrong values; train the model anew"
        ) from error


def verify(directory: Path, card: Card) -> None:
    """`ArtifactError` where the files are not those that the card was written for."""
    if checksums(directory, leave_out=(CARD,)) != card.content:
        raise ArtifactError(
            f"{directory}: damaged (its files are not those in {CARD}); train the model anew"
        )


def load(directory: Path, card: Card, registry: Registry[Any, Any, Any], data: Any) -> Any:
    """Load what `save` wrote, for `data`, once its files are known to be whole.

    Raises `ArtifactError` where they are not, and what `Registry.resolve` and the model's own
    `load` raise.
    """
    verify(directory, card)
    implementation = registry.resolve(card.name, card.backend)
    if implementation.package != card.package:
        say(
            f"note: {directory} was written by {card.package}, and {implementation.package} reads "
            "it"
        )
    config = parse(implementation.config, card.config, str(directory / CARD))
    return implementation.load(directory, config, data)


def facts_of(implementation: Implementation[Any, Any, Any], config: Config) -> dict[str, Any]:
    """What stands in every card, by name."""
    return {
        "name": implementation.name,
        "backend": implementation.backend,
        "package": implementation.package,
        "config": config.model_dump(mode="json"),
    }
