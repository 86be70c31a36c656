"""The decision of a window as a document: made, signed, read, and made again from what it was made
from."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from falconer.pipelines import parquet
from falconer.pipelines.config import parse
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import read_json, remove_file, sha256_of, write_text
from falconer.recsys.judging import slices
from falconer.workflows.retraining import signing
from falconer.workflows.retraining.config import Rule
from falconer.workflows.retraining.places import DECISION, EVIDENCE, OBSERVED, Places
from falconer.workflows.retraining.verdict import Check, Evidence, Measured, Verdict, decide

FORMAT = 1
DIGITS = 9
"""Figures are kept with so many digits, so that another machine's last bits make no difference."""
SET_ASIDE = "refused"
"""Folder of a window's refusals before it was run again, by their hash."""
PER_QUERY = "per_query.parquet"
FACTS, MEASURED, EARNED = "facts.json", "measured.json", "earned.parquet"


def make(places: Places, window: str) -> dict[str, Any]:
    """The signed decision of a window, from its `evidence.json` and the files that this names.

    It is a pure function of those files and the key: no clock, no random number.
    """
    path = places.window(window) / EVIDENCE
    evidence = read_json(path)
    _refuse_changes(places, window, evidence["inputs"])
    rule = parse(Rule, evidence["rule"], str(path))
    measured = _evidence(places, window, evidence, rule)
    verdict = decide(measured, rule)
    document = {
        "format": FORMAT,
        "pipeline": places.name,
        "window": window,
        "evidence": sha256_of(path),
        "inputs": evidence["inputs"],
        "champion": evidence["champion"],
        "models": evidence["models"],
        "rule": evidence["rule"],
        "tests_before": evidence["tests"],
        "means": means_of(measured),
        **facts_of(verdict),
    }
    if earned := _off_policy(places, window, document["means"]):
        document["off_policy"] = earned
    return signing.signed(document, signing.key_of(places))


def read(places: Places, window: str) -> dict[str, Any]:
    """A stored decision, its hash and signature checked; `ArtifactError` where they do not hold."""
    path = places.window(window) / DECISION
    _refuse_undecided(path, window)
    document = signing.stored(path)
    signing.verified(document, signing.key_of(places), path)
    return document


def _refuse_undecided(path: Path, window: str) -> None:
    if not path.exists():
        raise ArtifactError(
            f"{window}: this window is not decided; `falconer verdict list` shows those that are"
        )


def tests_before(places: Places, window: str) -> list[bool]:
    """The ledger: of each test of another window, whether it promoted, in the order in which they
    were made: each decision holds the tests before its own. A decision without a test spends
    nothing; one of a later window, where this one is made up for, counts as well."""
    others = (read(places, name) for name in places.decided() if name != window)
    tests = [one for one in others if one["alpha"] is not None]
    in_order = sorted(tests, key=lambda one: len(one["tests_before"]))
    return [one["outcome"] == "promote" for one in in_order]


def usual_lift(
    places: Places, window: str, label: str, rule: Rule, baselines: Sequence[str]
) -> float | None:
    """The median over earlier windows of the champion's metric divided by the best baseline's;
    None with fewer than three of this champion's label, metric, view and baselines."""
    found = []
    for name in places.decided():
        decision = read(places, name)
        means = decision["means"]
        same = (
            decision["champion"] == label
            and decision["models"]["baselines"] == list(baselines)
            and all(decision["rule"][one] == getattr(rule, one) for one in ("metric", "view"))
        )
        if name < window and same and means.get("champion"):
            found.append(means["champion"] / max([*(means[one] for one in baselines), 1e-12]))
    return _short(statistics.median(found)) if len(found) >= 3 else None


def refusal(places: Places, window: str) -> dict[str, Any]:
    """The decision of a window whose users were not looked at yet; `ConfigError` where it was
    decided otherwise."""
    decision = read(places, window)
    if decision["outcome"] != "refused":
        raise ConfigError(
            f"{window}: decided as {decision['outcome']}; only a window whose data were refused is "
            "run again, since another look at the same users would be another test"
        )
    return decision


def set_aside(places: Places, window: str) -> None:
    """Put a window's refusal away, so that its data is looked at anew. The evidence goes last: left
    by a kill, the next run writes over it."""
    folder, kept = places.window(window), refusal(places, window)["sha256"]
    for name in (EVIDENCE, DECISION):
        text = (folder / name).read_text(encoding="utf-8")
        write_text(folder / SET_ASIDE / kept / name, text)
    (folder / OBSERVED).unlink(missing_ok=True)
    remove_file(folder / DECISION)
    remove_file(folder / EVIDENCE)


def _refuse_changes(places: Places, window: str, inputs: Mapping[str, str]) -> None:
    folder = places.window(window)
    for name, wanted in inputs.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != wanted:
            raise ArtifactError(f"{path}: not the file that the verdict was made from")


def _evidence(places: Places, window: str, stored: Mapping[str, Any], rule: Rule) -> Evidence:
    def measured(label: str) -> Measured:
        return read_measured(places.judged(window, label), label, rule)

    models = stored["models"]
    return Evidence(
        data=tuple(_check(one) for one in stored["data"]),
        damage=tuple(stored["damage"]),
        preflight=tuple(_check(one) for one in stored["preflight"]),
        challengers=tuple(measured(label) for label in models["challengers"]),
        champion=measured("champion") if models["champion"] else None,
        anchor=measured("anchor") if models["anchor"] else None,
        baselines=tuple(measured(label) for label in models["baselines"]),
        usual_lift=stored["usual_lift"],
        tests=tuple(stored["tests"]),
    )


def means_of(evidence: Evidence) -> dict[str, float]:
    """Label -> the metric, of every model that was judged."""
    named = [*evidence.challengers, *evidence.baselines, evidence.champion, evidence.anchor]
    return {one.label: _short(one.mean) for one in named if one is not None}


def _off_policy(places: Places, window: str, labels: Iterable[str]) -> dict[str, Any]:
    """Label -> what its lists would have earned, where the window's dataset has logged rows."""
    facts = {label: read_json(places.judged(window, label) / FACTS) for label in labels}
    return {
        label: _shortened(one["off_policy"]) for label, one in facts.items() if "off_policy" in one
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _shortened(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shortened(one) for one in value]
    return _short(value) if isinstance(value, float) else value


def _check(values: Mapping[str, Any]) -> Check:
    low, high = values["low"], values["high"]
    return Check(
        values["name"],
        values["value"],
        -np.inf if low is None else low,
        np.inf if high is None else high,
        values["text"],
    )


def check_facts(check: Check) -> dict[str, Any]:
    """A check as JSON has it: an absent bound is null."""
    facts = asdict(check)
    for name in ("low", "high"):
        facts[name] = None if abs(facts[name]) == np.inf else _short(facts[name])
    return {**facts, "value": _short(check.value)}


def read_measured(folder: Path, label: str, rule: Rule) -> Measured:
    """What a model's report on a window holds for the rule."""
    path = folder / rule.view / PER_QUERY
    with parquet.damage_named(path, ArtifactError, "judge that window anew"):
        table = parquet.read(path)
    evaluated = table["n_relevant"].to_numpy() > 0
    if rule.metric not in table.column_names:
        raise ArtifactError(f"{folder}: has no {rule.metric} a query")

    def column(name: str) -> Any:
        return np.asarray(table[name].to_numpy(zero_copy_only=False)[evaluated], np.float64)

    groups = {
        slices.parse(name)[1:]: column(name) for name in table.column_names if slices.is_slice(name)
    }
    timed, facts = rule.max_latency_ms is not None, read_json(folder / FACTS)
    return Measured(
        label=label,
        values=np.nan_to_num(column(rule.metric)),
        coverage=facts["coverage"],
        by_popularity=facts.get("by_popularity", 0),
        queries=facts.get("queries", 0),
        latency_ms=read_json(folder / MEASURED)["ms_a_list"] if timed else None,
        groups=groups,
        earned=_earned(folder) if rule.off_policy is not None else None,
    )


def _earned(folder: Path) -> Any:
    if not (path := folder / EARNED).is_file():
        return None
    with parquet.damage_named(path, ArtifactError, "judge that window anew"):
        return np.asarray(parquet.read(path)["snips"].to_numpy(), np.float64)


def facts_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON has it."""
    return {
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "challenger": verdict.challenger,
        "alpha": _short(verdict.alpha),
        "p": _short(verdict.p),
        "users_needed": verdict.users_needed,
        "rules": [
            {
                "rule": one.rule,
                "holds": one.holds,
                "text": one.text,
                "otherwise": one.otherwise,
                "figures": {name: _short(value) for name, value in one.figures.items()},
            }
            for one in verdict.findings
        ],
    }


def _short(value: float | None) -> Any:
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{DIGITS}g}")


def replay(places: Places, window: str) -> None:
    """Make a decision again; `ArtifactError` where it is not the stored one to the last byte."""
    path = places.window(window) / DECISION
    _refuse_undecided(path, window)
    if as_text(make(places, window)) != path.read_text(encoding="utf-8"):
        raise ArtifactError(
            f"{path}: made again, it is another one: it was changed, or made by another release"
        )


def as_text(document: Mapping[str, Any]) -> str:
    """The bytes of a stored decision."""
    return json.dumps(document, indent=2, allow_nan=False, sort_keys=True) + "\n"
