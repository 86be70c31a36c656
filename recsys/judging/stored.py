"""Reports on disk: `report.json` beside the table of values, which belong together.

The report goes first and comes last: a table without a report is what a killed job left, and is of
no account.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import atomic_file, read_json, write_text
from falconer.recsys.judging.reports import REPORT_FORMAT_VERSION, BaseReport

REPORT = "report.json"
ANSWERS_KEY = b"falconer.answers"
"""In the metadata of a table of values: the sha256 of what was judged."""
ANEW = "evaluate anew with `falconer evaluate`"

R = TypeVar("R", bound=BaseReport)


@dataclass
class Place:
    """Where a table of values may be written, and the report on it put."""

    table: Path
    report: BaseReport | None = None

    def put(self, report: BaseReport) -> None:
        """Keep the report; it is written when the table is in its place."""
        self.report = report


@contextmanager
def reports_in(directory: Path, table: str) -> Iterator[Place]:
    """A place in `directory` for the file `table` and a report, which appear when the block ends
    without an error; what stood there goes first."""
    with atomic_file(directory / table) as partial:
        place = Place(partial)
        yield place
        (directory / REPORT).unlink(missing_ok=True)
    if place.report is not None:
        write_text(directory / REPORT, place.report.model_dump_json(indent=2) + "\n")


def read_report(directory: Path, kind: type[R]) -> R:
    """The report in `directory`; `ArtifactError` where it is absent, damaged or of another
    version."""
    path = directory / REPORT
    values = read_json(path)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != REPORT_FORMAT_VERSION:
        raise ArtifactError(f"{path}: format version {version}; {ANEW}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(f"{directory}: damaged report ({error}); {ANEW}") from error


def refuse_another_table(directory: Path, report: BaseReport, answers: str | None) -> None:
    """`ArtifactError` where the table of values, made from `answers`, is not that of the report."""
    if report.answers != answers:
        raise ArtifactError(
            f"{directory}: the report and the table beside it are of different answers; {ANEW}"
        )


def remove_reports(directory: Path, table: str) -> None:
    """Remove the report and the file `table` from `directory`, if there are any."""
    (directory / REPORT).unlink(missing_ok=True)
    (directory / table).unlink(missing_ok=True)
