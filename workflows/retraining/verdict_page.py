"""The page on one verdict: what was decided, by which rules, and from which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts, page
from falconer.pipelines.files import write_text
from falconer.pipelines.page import Column, Table
from falconer.recsys.judging.reports import OffPolicy
from falconer.recsys.reporting import off_policy
from falconer.workflows.retraining import champions, decisions, words
from falconer.workflows.retraining.places import PAGE, Places
from falconer.workflows.retraining.verdict import EARNS, FIRST

PACKAGE = "falconer.workflows.retraining"
BADGES = {"promote": "badge good", "keep": "badge"}
"""Outcome -> style; all others warn."""
FIRST_FIGURES = ("value", "difference")
"""What was found comes before what it was held against."""
DIGITS_SHOWN = 12
"""Hex digits of a hash that are shown where its whole would only take room."""


def write(places: Places, window: str) -> Path:
    """Write the window's page beside its decision; returns its path.

    Raises `ArtifactError` where the decision is not the one that was signed.
    """
    path = places.window(window) / PAGE
    decision, steps = decisions.read(places, window), places.observed(window)["steps"]
    serves = champions.was_followed(places, decision["sha256"])
    not_followed = decision["outcome"] == "promote" and not serves
    cause = champions.why_not_followed(places, window) if not_followed else None
    write_text(path, render(decision, steps, not_followed=cause))
    return path


def render(
    decision: Mapping[str, Any], steps: list[dict[str, Any]], *, not_followed: str | None = None
) -> str:
    """The page's HTML: `decision` as it is stored, `steps` as `observed.json` has them.

    `not_followed`: why its promotion was none, where it was not followed.
    """
    differences, means = _differences(decision), _means(decision)
    context = {
        "title": f"{decision['pipeline']}, window {decision['window']}: {decision['outcome']}",
        "badge": badge(decision["outcome"]),
        "facts": _facts(decision),
        "sections": _contents(
            has_figures=bool(differences or means), has_log="off_policy" in decision
        ),
        "meaning": words.NOT_FOLLOWED.format(cause=not_followed)
        if not_followed
        else words.meaning(decision),
        "failed": words.failures(decision),
        "differences": differences,
        "means": means,
        "off_policy": _off_policy(decision),
        "metric": decision["rule"]["metric"],
        "rules": _rules(decision),
        "ledger": _ledger(decision),
        "settings": _settings(decision["rule"]),
        "inputs": _inputs(decision),
        "steps": _steps(steps),
    }
    return page.render(PACKAGE, "verdict.html", context)


def badge(outcome: str) -> Markup:
    """The outcome as a coloured word."""
    return Markup('<span class="{}">{}</span>').format(BADGES.get(outcome, "badge warn"), outcome)


def _contents(*, has_figures: bool, has_log: bool) -> list[tuple[str, str]]:
    figures = [("figures", "Figures")] if has_figures else []
    figures += [("log", "Off-policy")] if has_log else []
    return [
        ("summary", "Why"),
        *figures,
        ("rules", "Rules"),
        ("protocol", "Protocol"),
        ("files", "Files"),
        ("observed", "Observed"),
    ]


def _facts(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    main = [one["figures"] for one in decision["rules"] if "users" in one["figures"]]
    return [
        ("Outcome", decision["outcome"]),
        ("Challenger", decision["challenger"] or "none"),
        ("Champion then", decision["champion"] or "none"),
        ("Metric", decision["rule"]["metric"]),
        ("Users judged", page.count(main[0]["users"]) if main else "none"),
    ]


def _differences(decision: Mapping[str, Any]) -> Markup | None:
    """Each paired comparison of the challenger with its interval."""
    rows = [
        charts.Dot(
            _compared_with(one["rule"], decision["rule"]["guards"]),
            one["figures"]["difference"],
            one["figures"]["lower"],
            one["figures"]["upper"],
            series=0 if one["holds"] == "yes" else 1,
        )
        for one in decision["rules"]
        if "difference" in one["figures"] and one["rule"] != EARNS
    ]
    if not rows:
        return None
    spoken = "; ".join(
        f"{row.label} {page.decimal(row.value, signed=True)}, "
        f"{page.span(row.low or 0.0, row.high or 0.0)}"
        for row in rows
    )
    return charts.dot_chart(
        "differences",
        rows,
        title="The challenger's metric less that of what it was compared with",
        description=f"Paired differences with their one-sided bounds: {spoken}.",
        axis=f"difference of {decision['rule']['metric']}",
        signed=True,
    )


def _off_policy(decision: Mapping[str, Any]) -> Table | None:
    """What each model's lists would have earned; None where the window has no logged rows."""
    stored = decision.get("off_policy", {})
    found = {label: OffPolicy.model_validate(one) for label, one in stored.items()}
    if not found:
        return None
    log = off_policy.of_log(next(iter(found.values())))
    title = f"Mean reward, had one of each list's first k items been shown; {log}"
    return off_policy.table("off-policy", found, title=title)


def _compared_with(rule: str, guards: Sequence[Mapping[str, Any]]) -> str:
    """What a rule compares with, short enough for a chart."""
    text = rule.partition(",")[0] if rule == FIRST else rule
    text = text.removeprefix("better than ").removeprefix("as good as ").removeprefix("guard: ")
    for guard in guards:
        text = text.removeprefix(f"{guard['slicing']} ")
    return text


def _means(decision: Mapping[str, Any]) -> Markup | None:
    means = decision["means"]
    rows = [charts.Dot(name, mean) for name, mean in sorted(means.items(), key=lambda one: -one[1])]
    if not rows:
        return None
    spoken = "; ".join(f"{row.label} {page.decimal(row.value)}" for row in rows)
    return charts.dot_chart(
        "means",
        rows,
        title=f"{decision['rule']['metric']} of every model on this window",
        description=f"Means over the judged users: {spoken}.",
        axis=str(decision["rule"]["metric"]),
    )


def _rules(decision: Mapping[str, Any]) -> Table:
    rows = [
        (one["rule"], _found(one))
        for one in [
            *words.failed(decision),
            *(one for one in decision["rules"] if one["holds"] == "yes"),
        ]
    ]
    columns = (Column("Rule"), Column("What was found"))
    return Table("rules-table", "Every rule, those that do not hold first", columns, tuple(rows))


def _found(rule: Mapping[str, Any]) -> Markup:
    style = "badge good" if rule["holds"] == "yes" else "badge warn"
    answer = Markup('<span class="{}">{}</span>').format(style, words.ANSWERS[rule["holds"]])
    return (
        answer
        + " "
        + page.with_note(rule["text"].removeprefix(f"{rule['rule']}: "), _figures(rule["figures"]))
    )


def _figures(figures: Mapping[str, Any]) -> str:
    names = sorted(figures, key=lambda name: (name not in FIRST_FIGURES, name))
    named = {name.replace("_", " "): figures[name] for name in names if figures[name] is not None}
    return ", ".join(f"{name} {value:.4g}" for name, value in named.items())


def _ledger(decision: Mapping[str, Any]) -> str:
    before = decision["tests_before"]
    if decision["alpha"] is None:
        return "No test was made, so that nothing was spent."
    return (
        f"Of {len(before)} tests before this one, {sum(before)} promoted. That leaves a level of "
        f"{decision['alpha']:.2g} for this test; its p-value is {decision['p']:.2g}."
    )


def _settings(rule: Mapping[str, Any]) -> Table:
    guards = "; ".join(
        f"{one['slicing']}{' ' + one['group'] if one['group'] else ''} at most {one['limit']} less"
        for one in rule["guards"]
    )
    plain = [
        (name.replace("_", " "), "none" if value is None else str(value))
        for name, value in sorted(rule.items())
        if name not in ("guards", "off_policy")
    ]
    if earned := rule.get("off_policy"):
        plain.append(("off-policy", f"at {earned['k']} at most {earned['limit']} less"))
    columns = (Column("Setting"), Column("Value"))
    rows = (*plain, ("guards", guards or "none"))
    return Table("settings", "The rule's settings", columns, rows)


def _inputs(decision: Mapping[str, Any]) -> Table:
    named = {
        "evidence.json": decision["evidence"],
        **decision["inputs"],
        "this decision": decision["sha256"],
        "its signature": decision["signature"],
    }
    rows = tuple(
        (name, Markup("<code>{}</code>").format(short(value))) for name, value in named.items()
    )
    columns = (Column("File"), Column("sha256, first digits"))
    return Table("inputs", "What the decision was made from", columns, rows)


def short(digest: str) -> str:
    """The first digits of a hash."""
    return digest[:DIGITS_SHOWN]


def _steps(steps: list[dict[str, Any]]) -> Table:
    rows = tuple(
        (one["step"], page.seconds(one["seconds"]), "was done already" if one["skipped"] else "run")
        for one in steps
    )
    columns = (Column("Step"), Column("Time", numeric=True), Column("Work"))
    return Table("steps", "Steps of the last run", columns, rows)
