"""The pipeline file: which data, which models, which rule decides, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from falconer.pipelines.config import Config, parse, read_toml
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import ConfigError
from falconer.recsys.configs.business import BusinessRules
from falconer.recsys.metrics.tables import metric_of_lists

LATEST = date(9000, 1, 1)
"""No window begins then: behind the calendar's end there is no day."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,60}$")]


class Finite(Config):
    """Numbers that end: a margin or a limit that does not would decide, and never say so."""

    model_config = ConfigDict(allow_inf_nan=False)


class Data(Finite):
    """The dataset of each window: an ETL recipe by name or file, and `key=value` overrides."""

    recipe: str
    set: tuple[str, ...] = ()
    valid_days: float = Field(default=7, ge=0)
    """Validation just before the judged window; 0 = none."""


class Models(Config):
    """Recipes by name or file. Baselines are plain recommenders that a challenger has to beat."""

    challengers: tuple[str, ...] = Field(min_length=1)
    baselines: tuple[str, ...] = Field(default=("popularity",), min_length=1)
    set: tuple[str, ...] = ()
    """`key=value` overrides for every challenger."""
    warm: tuple[str, ...] = ()
    """Challengers, by label, that start from their own weights of the window before."""

    @model_validator(mode="after")
    def _have_names_of_their_own(self) -> Models:
        labels = [label_of(recipe) for recipe in (*self.challengers, *self.baselines)]
        odd = [one for one in labels if one.startswith(".") or not one.strip().isprintable()]
        if odd or "" in labels:
            raise ValueError(f"no model can be called {', '.join(map(repr, odd)) or repr('')}")
        twice = sorted({label for label in labels if labels.count(label) > 1})
        reserved = sorted({"champion", "anchor", "random", "reversed", "again"} & set(labels))
        if twice or reserved:
            raise ValueError(f"two models cannot be called {', '.join(twice or reserved)}")
        strange = sorted(set(self.warm) - {label_of(recipe) for recipe in self.challengers})
        if strange:
            raise ValueError(f"warm: no challenger is called {', '.join(strange)}")
        return self


class Guard(Finite):
    """Users in whose groups the metric must not fall by more than `limit`."""

    slicing: str
    """As in a report: "history length", or a feature of users."""
    group: str | None = None
    """None = each group of the slicing."""
    limit: float = Field(gt=0)


class OffPolicy(Finite):
    """Where the data's recipe has logged rows: what the challenger's lists may earn less than the
    champion's, by SNIPS."""

    k: int = Field(default=1, ge=1)
    """One of the first so many items is shown."""
    limit: float = Field(gt=0)


class Rule(Finite):
    """What it takes to replace the champion. All effects are differences of the metric."""

    mode: Literal["superiority", "freshness"] = "superiority"
    metric: str = "ndcg@10"
    view: View = "all"
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Wrong promotions in the long run, as a share of promotions: what the ledger spends from."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Of the number of users that an undecided verdict asks for."""
    smallest_effect: float = Field(default=0.002, gt=0)
    """The smallest effect of interest: the least margin."""
    seed_deviation: float = Field(default=0.0, ge=0)
    """Standard deviation of the metric between seeds; 0 = as `falconer retrain --calibrate`
    measured it."""
    seeds: int = Field(default=5, ge=2)
    """From how many seeds it was measured."""
    worthwhile: float = Field(default=0.05, gt=0)
    """A gain that must not go unseen, as a share of the champion's metric."""
    too_good: float = Field(default=0.5, gt=0)
    """A gain over the champion, as a share of its metric, that nobody believes."""
    collapse: float = Field(default=0.5, gt=0, lt=1)
    """The champion is suspicious below this share of its usual metric."""
    min_users: int = Field(default=100, ge=10)
    min_coverage: float = Field(default=0.5, ge=0)
    """Catalogue coverage, as a share of the champion's."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds a list, measured while the window was judged; None = no limit."""
    guards: tuple[Guard, ...] = ()
    off_policy: OffPolicy | None = None
    """None = logged rows are evidence for people, and decide nothing."""

    @property
    def deepest(self) -> tuple[int, str]:
        """So many of a list's first items are looked at, and by what."""
        cuts = [(int(self.metric.partition("@")[2]), self.metric)]
        if self.off_policy:
            cuts.append((self.off_policy.k, f"rule.off_policy.k = {self.off_policy.k}"))
        return max(cuts)

    @field_validator("metric")
    @classmethod
    def _tells_of_each_user_who_is_better(cls, metric: str) -> str:
        name, _, cut = metric.partition("@")
        found = metric_of_lists(name)
        if found is None:
            raise ValueError(f"no metric is called {name!r}; `falconer metrics explain` lists them")
        of, definition = found
        if of == "all lists" or definition.better != "higher":
            raise ValueError(f"{name} does not say of a user's list how good it is")
        if not re.fullmatch("[1-9][0-9]{0,5}", cut):
            raise ValueError(f"needs a cut-off, such as {name}@10")
        return metric


FIELDS = 5
"""Of a cron expression. A sixth means seconds to some programs, and years to others."""
HISTORY = 8
"""So many accepted windows are looked back on."""
USUAL = 3.0
"""A shift is usual up to so many times the median of the shifts before."""


class Limits(Finite):
    """When a window's data is refused; None takes the bound from the pipeline's own history."""

    min_volume: float = Field(default=0.5, gt=0)
    max_volume: float = Field(default=1.8, gt=1)
    """Events of the window, as a share of the median of the windows before."""
    max_psi: float = Field(default=0.25, gt=0)
    """Population stability index of any watched distribution against the window before."""
    max_new_items: float = Field(default=0.3, gt=0, le=1)
    """Share of the window's events that are of items never seen in train."""
    max_empty_days: int = Field(default=0, ge=0)
    """Days of the window without an event, where the windows before have events on that day of the
    week."""
    max_doubled: float = Field(default=0.05, gt=0, le=1)
    """Share of the window's events that another event repeats in every column."""


class Recommend(Config):
    """The champion's lists for everybody, after each verdict on believable data."""

    k: int = Field(default=20, ge=1)
    view: View = "all"
    rules: BusinessRules = BusinessRules()


class Notify(Finite):
    """Who is told how a window ended: a program (the message on its standard input), a webhook."""

    command: tuple[str, ...] = ()
    webhook: str | None = Field(default=None, pattern=r"^https?://")
    seconds: float = Field(default=10, gt=0)


class Pipeline(Config):
    """One pipeline: everything that a window's result depends on, and where it is kept."""

    name: Name
    root: Path = Path("retraining")
    start: date = Field(lt=LATEST)
    """First day of the first window (UTC)."""
    days: int = Field(default=7, ge=1, le=3660)
    """Length of a window."""
    cron: str = "0 3 * * *"
    """When `falconer schedule` looks for a new window, UTC."""
    max_age_days: int | None = Field(default=None, ge=1)
    """A champion that is older raises an alarm."""
    database: str | None = Field(default=None, pattern=r"^postgresql://.+/.+")
    """URL of a PostgreSQL database for the workflows' state, postgresql://user@host/name; None = an
    SQLite file below `root`."""
    k: int = Field(default=20, ge=1)
    data: Data
    models: Models
    rule: Rule = Rule()
    limits: Limits = Limits()
    recommend: Recommend | None = None
    """None = no lists for everybody."""
    notify: Notify = Notify()

    @model_validator(mode="after")
    def _lists_are_as_long_as_the_metric_looks(self) -> Pipeline:
        depth, what = self.rule.deepest
        if self.k < depth:
            raise ValueError(f"k: lists of {self.k} items are too short for {what}")
        return self

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, cron: str) -> str:
        from croniter import CroniterBadDateError, croniter

        known = len(cron.split()) == FIELDS or cron.startswith("@")
        if not known or not croniter.is_valid(cron):
            raise ValueError("not a cron expression of five fields, such as 0 3 * * 1")
        try:
            croniter(cron, datetime.now(UTC)).get_next(datetime)
        except CroniterBadDateError as error:
            raise ValueError("never comes: look at the day and the month") from error
        return cron

    def window(self, name: str) -> Window:
        """The window that begins on the day `name`; `ConfigError` where none does."""
        try:
            first = date.fromisoformat(name)
        except ValueError as error:
            raise ConfigError(f"{name!r}: write a window as its first day, 2026-01-31") from error
        before = (first - self.start).days % self.days
        if before or first < self.start:
            near = max(self.start, first - timedelta(before))
            raise ConfigError(f"{name}: no window begins there; one begins on {near}")
        if first >= LATEST:
            raise ConfigError(f"{name}: too late for a window")
        return Window(first, first + timedelta(self.days))

    def ended(self, name: str, today: date) -> Window:
        """As `window`; `ConfigError` where it is not over yet: judged on a part of its days it
        would be decided for good."""
        window = self.window(name)
        if window.end > today:
            raise ConfigError(
                f"{name}: this window is not over: it lasts until {window.end}, and by the clock "
                f"it is {today} (UTC)"
            )
        return window

    def newest(self, today: date) -> Window:
        """The last window that was over when `today` began."""
        whole = (today - self.start).days // self.days
        if whole < 1:
            raise ConfigError(
                f"no window is over yet: the first one ends on {self.start + timedelta(self.days)}"
            )
        return self.window((self.start + timedelta((whole - 1) * self.days)).isoformat())

    def between(self, first: date, last: date) -> list[Window]:
        """The windows that begin from `first` to `last`, both included, in order."""
        behind = max(0, -(-(first - self.start).days // self.days))
        day, found = self.start + timedelta(behind * self.days), []
        while day <= last:
            found.append(Window(day, day + timedelta(self.days)))
            day += timedelta(self.days)
        return found


@dataclass(frozen=True)
class Window:
    """The days whose events are judged on: from `first` to before `end`. Its name is its first."""

    first: date
    end: date

    @property
    def name(self) -> str:
        """The first day, like 2026-01-31."""
        return self.first.isoformat()


def label_of(recipe: str) -> str:
    """A short name: "ease" of the recipe "complete-journey/ease" and of the file "my/ease.toml"."""
    return recipe.removesuffix(".toml").rsplit("/", 1)[-1]


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline file; `ConfigError` that lists every mistake."""
    return parse(Pipeline, read_toml(path), str(path))
