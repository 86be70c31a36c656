"""Model versions and their aliases in MLflow, beside the mirrored runs: who reads MLflow sees which
run serves. Whoever mirrors holds the truth elsewhere.

What MLflow's database beside the runs has is read by SQLite, in milliseconds; MLflow itself, which
takes seconds to import, is asked only where something has to be written, and of a server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from falconer.pipelines import tracking, tracking_server

HASH_TAG, LABEL_TAG, WINDOW_TAG = "falconer.sha256", "falconer.label", "falconer.window"
SECONDS_TO_ANSWER = 2.0
QUERY = """select alias, tag.value from registered_model_aliases as a
join model_version_tags as tag on tag.name = a.name and tag.version = a.version and tag.key = ?
where a.name = ?"""


@dataclass(frozen=True)
class Version:
    """A trained model that an alias can mean: its run, the hash of its files, and what it is."""

    run: Path
    sha256: str
    label: str
    window: str


def aliases(root: Path, name: str) -> dict[str, str]:
    """Alias -> hash of the model that it means, of the registered model `name` in MLflow; empty
    where there is none. Raises `sqlite3.Error`, or of a server whatever MLflow raises."""
    if tracking_server.address() is not None:
        with tracking.opened(root) as client:
            return _aliases(client, name)
    path = root / tracking.DATABASE
    if not path.exists():
        return {}
    uri = f"file:{quote(str(path.resolve()))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_ANSWER)) as database:
        return dict(database.execute(QUERY, [HASH_TAG, name]).fetchall())


def _aliases(client: Any, name: str) -> dict[str, str]:
    if not client.search_registered_models(f"name = '{name}'"):
        return {}
    numbers = client.get_registered_model(name).aliases
    versions = {alias: client.get_model_version(name, number) for alias, number in numbers.items()}
    return {alias: version.tags.get(HASH_TAG, "") for alias, version in versions.items()}


def write(root: Path, name: str, wanted: Mapping[str, Version]) -> None:
    """Let the aliases of the registered model `name` mean these versions, and no other alias mean
    any; versions that MLflow lacks are added. Raises whatever MLflow raises."""
    with tracking.opened(root) as client:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        stored = client.search_model_versions(f"name = '{name}'")
        numbers = {one.tags.get(HASH_TAG): str(one.version) for one in stored}
        for version in wanted.values():
            if version.sha256 not in numbers:
                run_id = tracking.mirrored(client, version.run)
                source = _source(version, run_id)
                added = client.create_model_version(name, source, run_id, tags=_tags(version))
                numbers[version.sha256] = str(added.version)
        for alias, version in wanted.items():
            client.set_registered_model_alias(name, alias, numbers[version.sha256])
        for alias in set(_aliases(client, name)) - set(wanted):
            client.delete_registered_model_alias(name, alias)


def _source(version: Version, run_id: str) -> str:
    """Where the model is: a server takes no path of this machine, nor the files themselves."""
    if tracking_server.address() is not None:
        return f"runs:/{run_id}/model"
    return (version.run / "model").resolve().as_uri()


def _tags(version: Version) -> dict[str, str]:
    return {HASH_TAG: version.sha256, LABEL_TAG: version.label, WINDOW_TAG: version.window}
