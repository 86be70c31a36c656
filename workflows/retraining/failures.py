"""What ended a window's last run without a verdict, for `falconer status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from falconer.pipelines.errors import ArtifactError, PipelineError
from falconer.pipelines.exhaustion import named
from falconer.pipelines.files import read_json, write_json
from falconer.workflows.retraining.lock import BusyError
from falconer.workflows.retraining.places import FAILED, UNTOLD, Places


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


def note_untold(places: Places, message: Mapping[str, object], error: Exception) -> None:
    """Write down that nobody heard of this message, where the disk takes it."""
    with suppress(OSError, PipelineError):
        text = f"nobody was told of {message['window']} ({message.get('outcome')}): {error}"
        write_json(places.registry / UNTOLD, {"error": text})


def forget_untold(places: Places) -> None:
    """Whoever is to be told hears again."""
    (places.registry / UNTOLD).unlink(missing_ok=True)


def untold(places: Places) -> list[str]:
    """What nobody heard of, the last time that somebody was to be told."""
    path = places.registry / UNTOLD
    try:
        return [str(read_json(path)["error"])] if path.exists() else []
    except (ArtifactError, KeyError, TypeError):
        return [f"{path}: damaged; remove it"]


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
