"""Signed decisions of simulated windows, as files and as documents, without a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from falconer.pipelines.config import parse
from falconer.pipelines.files import write_json, write_text
from falconer.pipelines.models.saved import hash_of
from falconer.workflows.retraining import champions, decisions, signing
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.config import Guard, Pipeline, Rule
from falconer.workflows.retraining.places import DECISION, OBSERVED, Places
from falconer.workflows.retraining.verdict import Check, Evidence, Verdict, decide
from tests.support import retrains
from tests.support.earned import OFF_POLICY
from tests.support.retrains import METRIC, RULE, World

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>'
START = date(2020, 1, 6)


def pipeline_of(root: Path, **changes: Any) -> Pipeline:
    """The pipeline of these windows; `changes` replace whole keys."""
    values: dict[str, Any] = {
        "name": "shop",
        "root": str(root),
        "start": START.isoformat(),
        "data": {"recipe": "orders.toml"},
        "models": {"challengers": ["item_knn"]},
    }
    return parse(Pipeline, values | changes, "a test's pipeline")


def window_name(number: int) -> str:
    """The first day of the so-many-th week."""
    return (START + timedelta(7 * number)).isoformat()


def evidence_of(outcome: str) -> tuple[Evidence, Rule]:
    """Evidence that ends in this outcome, some of it with names that try to break a page."""
    usual = retrains.usual()
    if outcome == "keep":
        worse = retrains.usual(gain=-0.02)
        return replace(worse, challengers=(replace(worse.challengers[0], label=HOSTILE),)), RULE
    if outcome == "suspicious":
        failed = Check("repeatable", 0, 1, 1, f"other bytes {HOSTILE}")
        return replace(usual, preflight=(failed,)), RULE
    if outcome == "undecidable":
        return usual_of(300), RULE
    if outcome == "refused":
        return replace(usual, damage=(HOSTILE,)), RULE
    guards = (Guard(slicing=HOSTILE, limit=0.1),)
    return usual, RULE.model_copy(update={"guards": guards})


def usual_of(n_users: int) -> Evidence:
    """A better challenger, and so many users."""
    world = World(n_users, 1)
    return Evidence(
        challengers=(world.model("new", METRIC + 0.012),),
        champion=world.model("champion", METRIC),
        baselines=(world.baseline(),),
    )


def document(
    outcome: str, *, window: str = "2020-01-06", pipeline: str = "shop", drift: float = 0.02
) -> dict[str, Any]:
    """A decision with this outcome as it is before it is signed."""
    evidence, rule, verdict = _decided(outcome, drift)
    return {
        "format": decisions.FORMAT,
        "pipeline": pipeline,
        "window": window,
        "evidence": "0" * 64,
        "inputs": {f"judged/{HOSTILE}/all/per_query.parquet": "1" * 64},
        "champion": "item_knn",
        "models": {"challengers": ["new"], "baselines": ["popularity"]},
        "rule": rule.model_dump(mode="json"),
        "tests_before": [True, False],
        "means": decisions.means_of(evidence),
        **decisions.facts_of(verdict),
        "off_policy": {HOSTILE: OFF_POLICY.model_dump(mode="json")},
    }


@cache
def _decided(outcome: str, drift: float) -> tuple[Evidence, Rule, Verdict]:
    evidence, rule = evidence_of(outcome)
    checks = (
        Check("new items", drift / 2, 0, 0.3, f"{drift / 2:.1%} of events are of new items"),
        Check("drift of hour", drift, 0, 0.25, f"hour: PSI {drift:.3f}"),
    )
    evidence = replace(evidence, data=checks)
    verdict = decide(evidence, rule)
    assert verdict.outcome == outcome
    return evidence, rule, verdict


def write_windows(places: Places, outcomes: Sequence[str]) -> None:
    """Decided windows on disk, one a week, and a champion for each that promoted."""
    key = signing.key_of(places)
    for number, outcome in enumerate(outcomes):
        window = window_name(number)
        unsigned = document(
            outcome, window=window, pipeline=places.name, drift=0.02 + number % 5 / 100
        )
        signed = signing.signed(unsigned, key)
        write_text(places.window(window) / DECISION, decisions.as_text(signed))
        steps = [{"step": "build", "seconds": 3.2, "skipped": False}]
        write_json(places.window(window) / OBSERVED, {"steps": steps, "at": window})
        if outcome == "promote":
            now = champions.current(places)
            champions.succeed(
                places,
                model(places, window),
                decision=signed["sha256"],
                judged_against=now.champion if now else None,
                moves_anchor=True,
            )


def model(places: Places, window: str) -> Model:
    """A trained model of this window, of a few bytes."""
    run = places.runs / f"run-{window}"
    (run / "model").mkdir(parents=True, exist_ok=True)
    (run / "model" / "weights.npz").write_bytes(window.encode())
    relative = run.relative_to(places.root).as_posix()
    return Model(label="item_knn", run=relative, sha256=hash_of(run / "model"), window=window)
