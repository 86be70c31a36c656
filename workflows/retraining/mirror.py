"""The registry in MLflow: model versions with the aliases champion, challenger and previous. The
registry's own file is the truth; MLflow is mended after it, and nothing waits for MLflow."""

from __future__ import annotations

from falconer.pipelines import model_versions, tracking
from falconer.pipelines.exhaustion import exhausted
from falconer.pipelines.files import read_json
from falconer.pipelines.model_versions import Version
from falconer.pipelines.runs import Run
from falconer.workflows.retraining import champions
from falconer.workflows.retraining.champions import Model
from falconer.workflows.retraining.places import DECISION, MODEL, Places


def mend(places: Places) -> list[str]:
    """Let MLflow say what the registry says, where it does not yet; returns what is in the way, for
    people. Never raises."""
    if not tracking.is_on():
        return []
    try:
        wanted = _wanted(places)
        told = model_versions.aliases(places.runs, places.name)
        if told != {alias: version.sha256 for alias, version in wanted.items()}:
            for version in wanted.values():
                if version.sha256 not in told.values():
                    Run.open(version.run)  # one that is gone is no reason to wait for MLflow
            model_versions.write(places.runs, places.name, wanted)
    except Exception as error:
        lines = str(exhausted(error) or error).splitlines() or [type(error).__name__]
        return [
            f"MLflow does not say which model serves ({lines[0]}); the registry does, and the "
            "next `falconer status` tries again"
        ]
    return []


def _wanted(places: Places) -> dict[str, Version]:
    now = champions.current(places)
    if now is None:
        return {}
    models = {"champion": now.champion, "previous": now.previous, "challenger": _last(places)}
    return {
        alias: Version(places.root / model.run, model.sha256, model.label, model.window)
        for alias, model in models.items()
        if model is not None
    }


def _last(places: Places) -> Model | None:
    """The challenger of the last decision, where it named one."""
    for window in places.decided()[-1:]:
        label = read_json(places.window(window) / DECISION)["challenger"]
        if label and (path := places.judged(window, label) / MODEL).exists():
            return Model(**read_json(path))
    return None
