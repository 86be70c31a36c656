"""The ETL recipe: everything that decides what a dataset holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, FiniteFloat, StringConstraints, field_validator, model_validator

from falconer.pipelines.config import Config, apply_overrides, find_recipe, parse, read_toml
from falconer.pipelines.data.schema import FORMER_TASK, TaskName
from falconer.pipelines.etl.catalogue import CatalogueConfig
from falconer.pipelines.etl.clean import CleanConfig
from falconer.pipelines.etl.contract import ContractConfig
from falconer.pipelines.etl.expectations import Expectation
from falconer.pipelines.etl.features import TABLES, FeaturesConfig
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.logged import LoggedConfig
from falconer.pipelines.etl.raw import OURS
from falconer.pipelines.etl.sources import Files, Source
from falconer.pipelines.etl.split.config import ByTime, Given, Random, SplitConfig
from falconer.pipelines.etl.target import TargetConfig

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class EtlRecipe(Config):
    """A dataset's source and each step's configuration."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    """Name of the dataset and of its folder: up to 200 letters, digits, dots, dashes,
    underscores."""
    task: TaskName = "top_n"
    target: TargetConfig | None = None
    """What the label of the task `labels` is."""
    source: Source
    contract: ContractConfig = Field(default_factory=ContractConfig)
    expect: dict[str, Expectation] = Field(default_factory=dict)
    """Event column -> what is expected of it."""
    clean: CleanConfig = Field(default_factory=CleanConfig)
    split: SplitConfig
    catalogue: CatalogueConfig = Field(default_factory=CatalogueConfig)
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    logged: LoggedConfig | None = None
    """What a recommender that chose by chance showed, for off-policy estimates."""
    memory_limit: str | None = None
    """Memory that a build may take, such as "4GB"; None = 60 % of the machine's or container's. It
    decides nothing that a dataset holds."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes that share the work and the memory, bucket by bucket; they decide nothing that a
    dataset holds either."""
    gpu: GpuConfig = Field(default_factory=GpuConfig)
    """What a build may do with GPUs, where its engine uses them."""
    refit_above: FiniteFloat | None = Field(default=None, gt=0.0)
    """Of an appended day: where a feature of events has drifted by more, all days are built and
    statistics fitted anew. In standard deviations, or as a share of new categories: `drift_of`."""
    extends: Path | None = None
    """Directory of a dataset whose ids, categories and scales are kept; new ones follow as the next
    generation."""

    @field_validator("task", mode="before")
    @classmethod
    def _is_called_so_today(cls, task: object) -> object:
        if task == FORMER_TASK:
            raise ValueError('this task is called "labels" now: write task = "labels"')
        return task

    @model_validator(mode="after")
    def _reads_its_features(self) -> EtlRecipe:
        """Of anybody's files the columns that [features] and clean.keep name are read, named under
        [source] or not. (Frozen: the fields are set as pydantic's own validators do.)"""
        lists = {table: self.features.lists(table) for table in TABLES}
        if isinstance(self.source, Files):
            event, user, item = map(self.features.columns, TABLES)
            kept = [name for name in self.clean.keep if name not in OURS]
            source = self.source.reading([*event, *kept], user, item, lists)
            object.__setattr__(self, "source", source)
        elif of_lists := [f"{table}: {min(names)}" for table, names in lists.items() if names]:
            raise ValueError(
                f"features.{of_lists[0]} needs a separator: this source has texts and no lists"
            )
        return self

    @model_validator(mode="after")
    def _keeps_its_target_apart(self) -> EtlRecipe:
        if isinstance(self.source, Files) and self.target is not None:
            column = getattr(self.source.columns, self.target.column)
            if column is not None and column in self.features.columns("event"):
                raise ValueError(
                    f"features.event.{column}: this column is the target, which no input may tell; "
                    "take the feature away"
                )
            if column is not None and any(column in table.on for table in self.source.external):
                raise ValueError(
                    f"source.external: {column} is the target, and a table looked up by it would "
                    "tell it; name other keys"
                )
        return self

    @model_validator(mode="after")
    def _knows_its_parts(self) -> EtlRecipe:
        parts = self.source.parts if isinstance(self.source, Files) else None
        if isinstance(self.split, Given) and parts is None:
            raise ValueError(
                'split.protocol = "given" needs files of your own, with source.parts.test and, '
                "where there is one, source.parts.valid; source.events are the train files then"
            )
        if parts is not None and not isinstance(self.split, Given):
            raise ValueError(
                'source.parts tells train, validation and test apart: set split.protocol = "given"'
            )
        if self.task == "labels" and parts and (parts.valid_history or parts.test_history):
            raise ValueError('task = "labels" has no histories: leave out source.parts.*_history')
        return self

    @model_validator(mode="after")
    def _logs_a_window(self) -> EtlRecipe:
        by_time = isinstance(self.split, ByTime) and self.split.targets == "all"
        if self.logged is not None and (self.task != "top_n" or not by_time):
            raise ValueError(
                '[logged] is for task = "top_n" and a split of global time (temporal or rolling) '
                'with targets = "all": its rows are those of the test window'
            )
        return self

    @model_validator(mode="after")
    def _fits_its_task(self) -> EtlRecipe:
        if self.task == "top_n" and self.target is not None:
            raise ValueError('[target] is for task = "labels"')
        if self.task == "labels":
            self._is_for_labels()
        return self

    def files(self) -> dict[str, Path]:
        """Name -> path of every file that a build reads; `DataError` where one is absent or
        empty."""
        return {**self.source.files(), **(self.logged.files() if self.logged else {})}

    def _is_for_labels(self) -> None:
        if self.target is None:
            raise ValueError(
                'task = "labels" needs a [target]: kind = "binary" or "rating", and a column'
            )
        if not isinstance(self.split, Random | ByTime | Given):
            raise ValueError(
                'task = "labels" is split by random, temporal, rolling or given: its rows are '
                "judged one by one"
            )
        if isinstance(self.split, ByTime) and (self.split.targets, self.split.valid_by) != (
            "all",
            "time",
        ):
            raise ValueError(
                'split.targets and valid_by pick events of a user, and task = "labels" asks for '
                "each row"
            )
        if self.split.views is not None:
            raise ValueError('split.views are of lists, and task = "labels" has none')
        if self.catalogue.counted_on != "train":
            raise ValueError(
                'task = "labels" keeps every row: catalogue.counted_on must be "train"'
            )


def load_recipe(name: str, overrides: Sequence[str] = ()) -> EtlRecipe:
    """Read a recipe by its name or path, with `key=value` overrides.

    Raises `ConfigError` that lists every mistake.
    """
    path = find_recipe(name, RECIPES)
    return parse(EtlRecipe, apply_overrides(read_toml(path), overrides), str(path))


def recipe_names() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(
        path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.toml")
    )
