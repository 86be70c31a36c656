"""Where interactions come from: one class a source, told apart in a recipe by `kind`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from falconer.pipelines.etl.sources.adult import Adult
from falconer.pipelines.etl.sources.complete_journey import CompleteJourney
from falconer.pipelines.etl.sources.criteo import Criteo
from falconer.pipelines.etl.sources.criteo_synthetic import CriteoSynthetic
from falconer.pipelines.etl.sources.files import Files
from falconer.pipelines.etl.sources.movielens import MovieLens

Source = Annotated[
    CompleteJourney | MovieLens | Adult | Criteo | CriteoSynthetic | Files,
    Field(discriminator="kind"),
]
"""`files()` names every file that will be read; `read()` reads them into a `Raw`."""

__all__ = ["Adult", "CompleteJourney", "Criteo", "CriteoSynthetic", "Files", "MovieLens", "Source"]
