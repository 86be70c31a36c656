"""A folder of answers (lists or predictions, and reports on them) belongs to one process at a
time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exclusive import exclusive


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder, made where it is not there yet, for this process alone; the system lets go
    when it ends.

    Who writes answers and who judges them hold it alike, so that a report is on the answers that
    lie beside it. Raises `ArtifactError` where another process holds it.
    """
    made = not folder.is_dir()
    busy = f"{folder}: another process is writing or judging answers there; wait for it, or end it"
    with exclusive(folder, ArtifactError(busy)):
        try:
            yield
        finally:
            if made and not any(folder.iterdir()):
                folder.rmdir()
