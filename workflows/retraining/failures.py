"""What ended a window's last run without a verdict, for `falconer status`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from falconer.pipelines.errors import ArtifactError, PipelineError
from falconer.pipelines.exhaustion import named
from falconer.pipelines.files import read_json, write_json
from falconer.workflows.retraining.lock import BusyError
from falconer.workflows.retraining.places import FAILED, Places


@contextmanager
def noted(places: Places, window: str) -> Iterator[None]:
    """Write down why the block failed, where the disk still takes it, and forget it where it did
    not. That another process is at work is no failure."""
    path = places.window(window) / FAILED
    try:
        yield
    except BusyError:
        raise
    except Exception as error:
        text = str(named(error) or error) or type(error).__name__
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError, PipelineError):
            write_json(path, {"at": at, "error": text})
        raise
    path.unlink(missing_ok=True)


def read(places: Places) -> list[str]:
    """Window, moment and reason of each window whose last run failed, oldest first."""
    found = []
    for window in places.failed():
        try:
            line = read_json(places.window(window) / FAILED)
            found.append(f"{window} at {line['at']}: {line['error']}")
        except (ArtifactError, KeyError, TypeError):
            found.append(f"{window}: failed, and the file that says why is damaged")
    return found
