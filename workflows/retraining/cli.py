"""The commands of retraining. Nothing heavy is imported until one of them runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
verdict = typer.Typer(no_args_is_help=True, help="Read verdicts, and make them again.")
app.add_typer(verdict, name="verdict")

File = Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")]
Windows = Annotated[str, typer.Argument(metavar="WINDOW", help="The window's first day.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is signed and kept.")]


@app.command()
def retrain(
    pipeline: File,
    *,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="DAY", help="Its first day; the newest if left out."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Measure only how much the metric depends on the seed; no verdict."
        ),
    ] = False,
    seeds: Annotated[int, typer.Option("--seeds", help="So many seeds, to calibrate.")] = 5,
    again: Annotated[
        bool,
        typer.Option("--again", help="Run a refused window again: its data came late."),
    ] = False,
) -> None:
    """Retrain on the newest window, judge, and promote or keep: one durable run.

    Killed, it goes on where it stopped when the same command is given again.

    Example: falconer retrain shop.toml --window 2026-03-02
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.schedule import told as run

    loaded = load_pipeline(pipeline)
    today = datetime.now(UTC).date()
    wanted = loaded.ended(window, today) if window else loaded.newest(today)
    if calibrate:
        from falconer.workflows.retraining.calibrate import calibrate as measure

        found = measure(loaded, wanted, seeds=seeds)
        say(f"{found.metric} between {seeds} seeds: deviation {found.seed_deviation:.5f}")
        return
    if again:
        from falconer.workflows.retraining.pipeline import let_run_again

        let_run_again(loaded, wanted)
    say(_sentence(run(loaded, wanted)))


def _sentence(decision: dict[str, object]) -> str:
    who = f" {decision['challenger']}" if decision["challenger"] else ""
    return f"{decision['window']}: {decision['outcome']}{who}: {decision['reason']}"


@app.command()
def backfill(
    pipeline: File,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")],
) -> None:
    """Run every window that begins between two days and is over, in order; decided ones are left
    alone.

    Example: falconer backfill shop.toml --from 2026-02-02 --to 2026-03-02
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.schedule import backfill as run

    today = datetime.now(UTC).date()
    for decision in run(load_pipeline(pipeline), first.date(), last.date(), today):
        say(_sentence(decision))


@app.command()
def schedule(pipeline: File) -> None:
    """Stay, and run the newest window whenever the pipeline's cron expression says so.

    Killed and started again, it goes on where it stopped.

    Example: falconer schedule shop.toml
    """
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.schedule import serve

    serve(lambda: load_pipeline(pipeline))


@app.command()
def status(
    pipeline: File,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_html: Annotated[
        bool, typer.Option("--html", help="As a page in the registry; prints where.")
    ] = False,
) -> None:
    """The champion, each window's outcome, and what is wrong, if something is.

    Example: falconer status shop.toml
    """
    import json

    from falconer.pipelines.console import say
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.status import status as read

    loaded = load_pipeline(pipeline)
    found = read(loaded, datetime.now(UTC).date())
    if as_json:
        say(json.dumps(found, indent=2, allow_nan=False))
        return
    if as_html:
        from falconer.workflows.retraining import status_page
        from falconer.workflows.retraining.places import Places

        say(str(status_page.write(Places.of(loaded), found)))
        return
    now = found["champion"] and found["champion"]["champion"]
    who = f"champion {now['label']} of window {now['window']}" if now else "no champion yet"
    say(f"{found['pipeline']}: {who}")
    for one in found["windows"]:
        say(
            f"  {one['window']}  {one['outcome']:<12} {one['challenger'] or '-':<16} "
            f"{one['reason']}"
        )
    for name in ("unfinished", "failed", "alarms"):
        for text in found[name]:
            say(f"  {name}: {text}")


@app.command()
def promote(
    pipeline: File,
    window: Windows,
    label: Annotated[str, typer.Argument(help="A model that was judged on this window.")],
    reason: Why,
) -> None:
    """Make a judged model the champion by a person's order, signed and recorded.

    Example: falconer promote shop.toml 2026-03-02 ease --reason "the old one lacks the new range"
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining import champions
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.places import Places

    now = champions.promote(Places.of(load_pipeline(pipeline)), window, label, reason=reason)
    say(f"champion: {now.champion.label} of window {now.champion.window}")


@app.command()
def rollback(pipeline: File, reason: Why) -> None:
    """Let the model serve again that served before, by a person's order, signed and recorded.

    Example: falconer rollback shop.toml --reason "complaints about the new lists"
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining import champions
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.places import Places

    now = champions.rollback(Places.of(load_pipeline(pipeline)), reason=reason)
    say(f"champion: {now.champion.label} of window {now.champion.window}")


@app.command()
def deliver(pipeline: File, window: Windows) -> None:
    """Write the champion's lists for everybody as of a window's end, as each retrain does.

    Example: falconer deliver shop.toml 2026-03-02
    """
    from falconer.pipelines.console import say
    from falconer.recsys.recommending.everybody import LATEST
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.delivery import deliver as write
    from falconer.workflows.retraining.places import Places

    loaded = load_pipeline(pipeline)
    for name, n in write(loaded, loaded.window(window))["counts"].items():
        say(f"{name}: {n:,}")
    say(str(Places.of(loaded).lists / LATEST))


@app.command()
def prune(
    pipeline: File,
    *,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", help="Everything of so many newest windows stays.")
    ],
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove old models, datasets and lists; what serves, served or a verdict is replayed from
    stays.

    Example: falconer prune shop.toml --keep 8 --dry-run
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.prune import prune as run

    found = run(load_pipeline(pipeline), keep=keep, dry=dry)
    for path, size in found:
        say(f"{size / 2**20:8.1f} MiB  {path}")
    done = "could go" if dry else "removed"
    say(f"{sum(size for _, size in found) / 2**20:8.1f} MiB {done}")


@verdict.command(name="list")
def list_verdicts(pipeline: File) -> None:
    """Every window's outcome, oldest first; ends with 2 where a decision is damaged.

    Example: falconer verdict list shop.toml
    """
    from falconer.pipelines.console import say
    from falconer.pipelines.errors import ArtifactError
    from falconer.workflows.retraining import decisions
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.places import Places

    places = Places.of(load_pipeline(pipeline))
    damaged = []
    for window in places.decided():
        try:
            say(_sentence(decisions.read(places, window)))
        except ArtifactError as error:
            damaged.append(str(error))
    if damaged:
        raise ArtifactError("\n".join(damaged))


@verdict.command()
def show(
    pipeline: File,
    window: Windows,
    *,
    as_html: Annotated[
        bool, typer.Option("--html", help="As a page beside the decision; prints where.")
    ] = False,
) -> None:
    """One verdict: each rule with its answer and figures.

    Example: falconer verdict show shop.toml 2026-03-02 --html
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining import decisions, verdict_page
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.places import Places

    places = Places.of(load_pipeline(pipeline))
    if as_html:
        say(str(verdict_page.write(places, window)))
        return
    decision = decisions.read(places, window)
    say(_sentence(decision))
    for one in decision["rules"]:
        say(f"  {one['holds']:<8} {one['rule']}: {one['text']}")
    say(f"sha256 {decision['sha256']}")


@verdict.command()
def replay(pipeline: File, window: Windows) -> None:
    """Make a verdict again from the files that it was made from; ends with 2 where a byte differs.

    Example: falconer verdict replay shop.toml 2026-03-02
    """
    from falconer.pipelines.console import say
    from falconer.workflows.retraining import decisions
    from falconer.workflows.retraining.config import load_pipeline
    from falconer.workflows.retraining.places import Places

    decisions.replay(Places.of(load_pipeline(pipeline)), window)
    say(f"{window}: the same bytes")
