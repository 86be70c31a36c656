"""The steps of one window. Each is keyed by its inputs, so that what is done already is not done
again, and writes nothing half."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from falconer.pipelines import stages as ground
from falconer.pipelines.config import read_toml, to_toml
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.files import identity_of, read_json, sha256_of, write_json, write_text
from falconer.pipelines.models.recipe import frozen
from falconer.pipelines.models.saved import hash_of
from falconer.pipelines.runs import CONFIG_FILE, RUN_FILE, Run
from falconer.recsys import stages as recsys
from falconer.recsys.judging.slices import names_of_slicings
from falconer.recsys.models.recipe import load_recipe
from falconer.workflows.retraining import (
    champions,
    decisions,
    delivery,
    drift,
    judging,
    scores,
    verdict_page,
)
from falconer.workflows.retraining.calibration import calibrated
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.config import Pipeline, Rule, Window, label_of
from falconer.workflows.retraining.estimates import gap
from falconer.workflows.retraining.places import (
    DATASET,
    DECISION,
    EVIDENCE,
    MODEL,
    OBSERVED,
    PROFILE,
    Places,
)
from falconer.workflows.retraining.verdict import Check

PREFLIGHT_ALPHA = 0.001
"""A ranker that should be the worst is an alarm only where it is better beyond chance."""


@dataclass(frozen=True)
class Job:
    """One window of one pipeline."""

    pipeline: Pipeline
    window: Window

    @property
    def places(self) -> Places:
        """Where its files are."""
        return Places.of(self.pipeline)

    @property
    def folder(self) -> Path:
        """The window's folder."""
        return self.places.window(self.window.name)

    @property
    def data(self) -> Dataset:
        """The window's dataset."""
        return Dataset.open(self.places.dataset(self.window.name))

    @property
    def labels(self) -> dict[str, str]:
        """Label -> recipe of everything that is trained."""
        models = self.pipeline.models
        return {label_of(recipe): recipe for recipe in (*models.challengers, *models.baselines)}

    def overrides(self, label: str) -> tuple[str, ...]:
        """What is set in a challenger's recipe; baselines are as they come."""
        models = self.pipeline.models
        return models.set if self.labels[label] in models.challengers else ()


def watch(job: Job) -> dict[str, Any]:
    """Look at the window's events before anything is built of them; returns why they are
    refused."""
    data = job.pipeline.data
    recipe = ground.load_recipe(data.recipe, data.set)
    for label, model in job.labels.items():
        load_recipe(model, job.overrides(label))
    if job.pipeline.rule.off_policy is not None and recipe.logged is None:
        raise ConfigError(
            f"rule.off_policy needs logged rows: name a log in {data.recipe} under [logged], or "
            "take the rule away"
        )
    profile = ground.profile(recipe, job.window.first, job.window.end)
    write_json(job.folder / PROFILE, profile)
    failed = [one.text for one in _data_checks(job) if not one.holds]
    return {"skipped": False, "refused": failed}


def _data_checks(job: Job) -> list[Check]:
    path = job.folder / PROFILE
    if not path.exists():
        return []
    history = drift.accepted(job.places, job.window.name)
    return drift.checks(read_json(path), history, job.pipeline.limits)


def build(job: Job) -> dict[str, Any]:
    """Build the window's dataset, a descendant of the one before."""
    places, window = job.places, job.window
    path = job.folder / DATASET
    parent = places.dataset_before(window.name)
    if path.exists():
        stored = read_json(path)["parent"]
        parent = places.root / stored if stored else None
    data = job.pipeline.data
    recipe = ground.windowed(
        ground.load_recipe(data.recipe, data.set),
        test_from=window.first,
        until=window.end,
        valid_days=data.valid_days,
        extends=parent,
    )
    dataset = ground.etl(recipe, places.data)
    _refuse_unknown_guards(job.pipeline.rule, Dataset.open(dataset))
    facts = {
        "path": dataset.relative_to(places.root).as_posix(),
        "parent": parent.relative_to(places.root).as_posix() if parent else None,
    }
    skipped = path.exists() and read_json(path) == facts
    write_json(path, facts)
    return {"skipped": skipped, "dataset": dataset.name}


def _refuse_unknown_guards(rule: Rule, data: Dataset) -> None:
    """A guard of groups that no window can have would guard nobody, and never say so."""
    known = names_of_slicings(data)
    unknown = sorted({guard.slicing for guard in rule.guards} - set(known))
    if unknown:
        raise ConfigError(
            f"rule.guards: no slicing is called {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(map(repr, known))}"
        )


def train(job: Job, label: str) -> dict[str, Any]:
    """Train one recipe on the window's dataset, or go on with it, or find it trained."""
    recipe, overrides = job.labels[label], job.overrides(label)
    warm = label in job.pipeline.models.warm
    start = _run_before(job, label, overrides) if warm else None
    run, skipped = trained(job, recipe, overrides, start=start)
    model = Model(
        label=label,
        run=run.relative_to(job.places.root).as_posix(),
        sha256=hash_of(run / "model"),
        window=job.window.name,
    )
    write_json(job.places.judged(job.window.name, label) / MODEL, model.model_dump())
    return {"skipped": skipped, "run": run.name}


def trained(
    job: Job, recipe: str, overrides: tuple[str, ...], *, start: Path | None = None
) -> tuple[Path, bool]:
    """The finished run of a recipe on the window's dataset, and whether it was there already; it
    starts from the weights of the run `start`, where that is given."""
    implementation, config = load_recipe(recipe, overrides)
    inputs = [job.data.card.dataset_id, frozen(implementation, config)]
    run_id = identity_of([*inputs, hash_of(start / "model")] if start else inputs)
    for path in sorted(job.places.runs.glob(f"*-{run_id}/{RUN_FILE}")):
        if Run(path.parent).info["status"] == "finished":
            return path.parent, True
        return recsys.resume(path.parent), False
    run = recsys.train(
        recipe, job.data.path, job.places.runs, overrides=overrides, run_id=run_id, start=start
    )
    return run, False


def _run_before(job: Job, label: str, overrides: tuple[str, ...]) -> Path | None:
    """The run of the same recipe on the last window before this one that trained it; None where
    there is none, or where its recipe was another one. `ConfigError` where the model cannot start
    from a run."""
    chosen = load_recipe(job.labels[label], overrides)
    recsys.refuse_start(*chosen)
    found = job.places.trained_before(job.window.name, label)
    if found is None:
        return None
    run = champions.intact(job.places, Model(**read_json(found)))
    same = read_toml(run / CONFIG_FILE) == tomllib.loads(to_toml(frozen(*chosen)))
    return run if same else None


def judge(job: Job, label: str) -> dict[str, Any]:
    """Rank and judge a model of this window, the champion, the anchor, or a known ranker."""
    out, rule, k = job.places.judged(job.window.name, label), job.pipeline.rule, job.pipeline.k
    data = job.data
    if label in (judging.RANDOM, judging.REVERSED):
        return {"skipped": not judging.judge_known(label, data, out, rule, k=k)}
    model = model_of(job, label)
    run = champions.intact(job.places, model)
    return {"skipped": not judging.judge(run, data, out, rule, k=k, model=model.sha256)}


def model_of(job: Job, label: str) -> Model:
    """The model that a label means on this window."""
    return Model(**read_json(job.places.judged(job.window.name, label) / MODEL))


def seat(job: Job) -> dict[str, Any]:
    """Fix who defends the title: champion and anchor as they are when the window begins."""
    now = champions.current(job.places)
    seated = {"champion": now.champion, "anchor": now.anchor} if now else {}
    for label, model in seated.items():
        path = job.places.judged(job.window.name, label) / MODEL
        if model.window != job.window.name or not path.exists():
            write_json(path, model.model_dump())
    return {"labels": list(seated)}


def gather(job: Job, seated: list[str], refused: dict[str, Any] | None) -> dict[str, Any]:
    """Write down all that the verdict will depend on."""
    models = job.pipeline.models
    whole = refused is None
    labels: dict[str, Any] = {
        "challengers": [label_of(recipe) for recipe in models.challengers] if whole else [],
        "baselines": [label_of(recipe) for recipe in models.baselines] if whole else [],
        "champion": whole and "champion" in seated,
        "anchor": whole and "anchor" in seated,
    }
    champion = model_of(job, "champion").label if "champion" in seated else None
    named = [*labels["challengers"], *labels["baselines"], *seated] if whole else []
    evidence = {
        "rule": calibrated(job.pipeline).model_dump(mode="json"),
        "models": labels,
        "hashes": {label: model_of(job, label).sha256 for label in named},
        "champion": champion,
        "inputs": judging.inputs_of(
            [job.places.judged(job.window.name, label) for label in named],
            job.folder,
            job.pipeline.rule,
        ),
        "data": [decisions.check_facts(one) for one in _data_checks(job)],
        "damage": refused["damage"] if refused else [],
        "preflight": [decisions.check_facts(one) for one in _preflight(job)] if whole else [],
        "usual_lift": decisions.usual_lift(
            job.places, job.window.name, champion, job.pipeline.rule, labels["baselines"]
        )
        if champion
        else None,
        "tests": decisions.tests_before(job.places, job.window.name),
    }
    write_json(job.folder / EVIDENCE, evidence)
    return {"sha256": sha256_of(job.folder / EVIDENCE)}


def _preflight(job: Job) -> list[Check]:
    """The same model twice gives the same bytes; known rankers come out in their known order."""
    name, rule, k = job.window.name, job.pipeline.rule, job.pipeline.k
    places, data = job.places, job.data
    label = label_of(job.pipeline.models.challengers[0])
    run = champions.intact(places, model_of(job, label))
    same = judging.repeats(run, data, places.judged(name, label), job.folder / "again", rule, k=k)
    text = "the same model, ranked twice, gives the same bytes"
    found = [Check("repeatable", float(same), 1, 1, text)]
    best = max(
        (
            decisions.read_measured(places.judged(name, label_of(one)), one, rule)
            for one in job.pipeline.models.baselines
        ),
        key=lambda one: one.mean,
    )
    for known in (judging.RANDOM, judging.REVERSED):
        other = decisions.read_measured(places.judged(name, known), known, rule)
        ahead = gap(other.values, best.values, seed_variance=0, seeds=2).lower(PREFLIGHT_ALPHA)
        text = (
            f"the {known} ranker has {other.mean:.4f}, the best baseline {best.mean:.4f}: it may "
            "not be better for sure"
        )
        found.append(Check(f"{known} is not above baselines", ahead, -math.inf, 0, text))
    return found


def decide(job: Job) -> dict[str, Any]:
    """Make the decision from the evidence, and store it, once."""
    path = job.folder / DECISION
    if path.exists():
        document = decisions.read(job.places, job.window.name)
        if document["evidence"] == sha256_of(job.folder / EVIDENCE):
            return {"skipped": True, **_summary(document)}
    document = decisions.make(job.places, job.window.name)
    write_text(path, decisions.as_text(document))
    return {"skipped": False, **_summary(document)}


def decided(job: Job) -> dict[str, Any]:
    """The decision that is there, and whether a later window has one: then neither who serves nor
    the lists are this window's business any more."""
    name = job.window.name
    overtaken = job.places.decided()[-1] > name
    return {"overtaken": overtaken, **_summary(decisions.read(job.places, name))}


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("outcome", "reason", "challenger", "sha256")}


def crown(job: Job, decided: dict[str, Any]) -> dict[str, Any]:
    """Make the challenger champion where that was decided; else keep the one that is."""
    if decided["outcome"] == "promote":
        champions.succeed(
            job.places,
            model_of(job, decided["challenger"]),
            decision=decided["sha256"],
            judged_against=_judged_against(job),
            moves_anchor=job.pipeline.rule.mode == "superiority",
        )
    now = champions.current(job.places)
    return {"champion": now.champion.label if now else None}


def _judged_against(job: Job) -> Model | None:
    """The champion when the window began."""
    stored = read_json(job.folder / EVIDENCE)["models"]["champion"]
    return model_of(job, "champion") if stored else None


def recommend(job: Job, decided: dict[str, Any]) -> dict[str, Any]:
    """Write the champion's lists for everybody; those of before stay where the window's data is not
    believed."""
    if decided["outcome"] in ("refused", "suspicious") or champions.current(job.places) is None:
        return {"skipped": True, "kept": "the lists of before"}
    return delivery.deliver(job.pipeline, job.window)


def publish(job: Job) -> dict[str, Any]:
    """Write the verdict's page, and note how the champion's scores have shifted."""
    page = verdict_page.write(job.places, job.window.name).name
    shift = scores.shift(job.places, job.window.name, job.pipeline.rule.view)
    return {"page": page, "observed": {"scores": shift}}


def note(job: Job, name: str, seconds: float, result: dict[str, Any]) -> None:
    """Add a step to the window's `observed.json`: what clocks said, which no decision depends
    on."""
    known = job.places.observed(job.window.name)
    line = {"step": name, "seconds": round(seconds, 3), "skipped": result.get("skipped", False)}
    steps = [one for one in known["steps"] if one["step"] != name] + [line]
    at = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        job.folder / OBSERVED, {**known, **result.get("observed", {}), "steps": steps, "at": at}
    )
