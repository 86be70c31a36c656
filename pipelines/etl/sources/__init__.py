"""Where interactions come from: one class a source, told apart in a recipe by `kind`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SerializeAsAny

from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.adult import Adult
from falconer.pipelines.etl.sources.complete_journey import CompleteJourney
from falconer.pipelines.etl.sources.criteo import Criteo
from falconer.pipelines.etl.sources.criteo_synthetic import CriteoSynthetic
from falconer.pipelines.etl.sources.files import Files
from falconer.pipelines.etl.sources.movielens import MovieLens
from falconer.pipelines.etl.sources.plugin import SourcePlugin, read_by_plugin
from falconer.pipelines.plugin_configs import open_to

OWN = (CompleteJourney, MovieLens, Adult, Criteo, CriteoSynthetic, Files)
Source = Annotated[
    CompleteJourney | MovieLens | Adult | Criteo | CriteoSynthetic | Files,
    Field(discriminator="kind"),
    open_to("falconer.sources", key="kind", own=OWN, base=SourcePlugin),
    SerializeAsAny(),
]
"""`files()` names every file that will be read; `read()` reads them into a `Raw`. What another
package brings is a `SourcePlugin`."""


def read(source: Source) -> Raw:
    """The source's tables, with values as they came."""
    return read_by_plugin(source) if isinstance(source, SourcePlugin) else source.read()


__all__ = [
    "Adult",
    "CompleteJourney",
    "Criteo",
    "CriteoSynthetic",
    "Files",
    "MovieLens",
    "Source",
    "SourcePlugin",
    "read",
]
