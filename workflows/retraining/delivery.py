"""The champion's lists for everybody, as of the end of a window."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from falconer.pipelines import stages as ground
from falconer.pipelines.data.asked import Asked
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.files import identity_of, read_json, sha256_of
from falconer.recsys.configs.business import BusinessRules
from falconer.recsys.models.saved import load_model
from falconer.recsys.recommending.business import item_rules
from falconer.recsys.recommending.everybody import (
    MANIFEST,
    Wanted,
    point_latest,
    write_everybody,
)
from falconer.workflows.retraining import champions
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.config import Pipeline, Recommend, Window
from falconer.workflows.retraining.judging import by_train_events
from falconer.workflows.retraining.places import Places


def deliver(pipeline: Pipeline, window: Window) -> dict[str, Any]:
    """Write the champion's lists for everybody who was seen before the window's end, and let
    `latest` mean them; returns the counts, and whether they were there already.

    Raises `ConfigError` where the pipeline asks for no lists, or has no champion or dataset yet.
    """
    places, wanted = Places.of(pipeline), pipeline.recommend
    now = champions.current(places)
    if wanted is None:
        raise ConfigError(f"{pipeline.name}: a table [recommend] asks for lists for everybody")
    if now is None:
        raise ConfigError(f"{pipeline.name}: there is no champion yet whose lists could be written")
    run = champions.intact(places, now.champion)
    data = Dataset.open(places.dataset(window.name))
    asked = _asked(pipeline, window, data)
    plan = _plan(now.champion, window, wanted, data, asked)
    folder = places.lists / "lists" / f"window={window.name}" / f"version={identity_of(plan)}"
    skipped = folder.exists()
    if not skipped:
        last, stop = asked.last_event(data.n_items), _second(window)
        rules = item_rules(wanted.rules, data, last_event=last, now=stop)
        version = str(plan["model_version"])
        lists = Wanted(wanted.k, wanted.view, rules, version, by_train_events(data))
        write_everybody(load_model(run / "model", data), data, asked.queries, folder, lists, plan)
    point_latest(places.lists, folder)
    return {"skipped": skipped, "counts": read_json(folder / MANIFEST)["counts"]}


def _asked(pipeline: Pipeline, window: Window, data: Dataset) -> Asked:
    """Everybody's queries as of the window's end: those that are there, or new ones."""
    found = Asked(Places.of(pipeline).everybody(window.name))
    if found.folder.exists():
        return found
    recipe = ground.load_recipe(pipeline.data.recipe, pipeline.data.set)
    return ground.everybody(recipe, data, window.end, found.folder)


def _plan(
    model: Model, window: Window, wanted: Recommend, data: Dataset, asked: Asked
) -> dict[str, Any]:
    """All that the lists depend on."""
    return {
        "window": window.name,
        "model_version": f"{model.label}-{model.sha256}",
        "dataset": data.card.dataset_id,
        "queries": sha256_of(asked.queries),
        "k": wanted.k,
        "view": wanted.view,
        "rules": _rules(wanted.rules),
    }


def _rules(rules: BusinessRules) -> dict[str, Any]:
    """The rules, with the deny list's content in place of its name."""
    values = rules.model_dump(mode="json")
    if rules.deny is not None and rules.deny.is_file():
        values["deny"] = sha256_of(rules.deny)
    return values


def _second(window: Window) -> int:
    return int(datetime.combine(window.end, time(), UTC).timestamp())
