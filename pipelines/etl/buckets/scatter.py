"""The one pass over the source: each piece is read, checked and appended to its users' buckets, by
tasks that share the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.buckets.frames import (
    Scatter,
    bucket_file,
    read_bucket,
    task_folder,
)
from falconer.pipelines.etl.catalogue import KINDS
from falconer.pipelines.etl.columns import WIDE, form_of
from falconer.pipelines.etl.common_ids import whole
from falconer.pipelines.etl.contract import (
    Checked,
    ContractConfig,
    Part,
    Rules,
    check_table,
    counts_of,
    refusal,
)
from falconer.pipelines.etl.expectations import expect
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.outcome import refuse_without_ids
from falconer.pipelines.etl.raw import FRACTION, Raw
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.sources.pieces import Pieces, Share, in_pieces, shared
from falconer.pipelines.etl.sources.tables import Table
from falconer.pipelines.etl.workers.tasks import Stages

NONE = pl.DataFrame()


@dataclass
class Pass:
    """What is known of some of the events after the pass: `reasons` and `expected` count rejected
    rows by reason, `first` is the first row of each, `last` the latest time, `all_whole` whether
    the ids of a kind are all whole numbers, `empty` no rows with the columns of all."""

    files: dict[str, int] = field(default_factory=dict)
    n_read: int = 0
    n_kept: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    first: list[pl.DataFrame] = field(default_factory=list)
    advice: dict[str, str] = field(default_factory=dict)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    last: int | None = None
    fractions: bool = False
    all_whole: dict[str, bool] = field(default_factory=dict)
    empty: pl.DataFrame = field(default_factory=pl.DataFrame)

    def counts(self) -> dict[str, int]:
        """What the dataset's card tells of the events' check."""
        part = Part("events", self.n_read, NONE, NONE, _ranked(self.reasons), {})
        expected = {f"rejected: {why}": n for why, n in self.expected.items()}
        return counts_of("events", part) | expected

    def rejected_rows(self) -> dict[str, pl.DataFrame]:
        """The rejected events, as "events", if there are any."""
        if not self.rejected:
            return {}
        return {"events": pl.concat(self.rejected, how="diagonal").sort("row")}

    def add(self, later: Pass) -> None:
        """Take in what is known of the files that follow, whose rows are numbered on."""
        for reason, rows in zip(later.reasons, later.first, strict=True):
            if reason not in self.reasons:
                self.first.append(_numbered_on(rows, self.n_read))
        self.rejected += [_numbered_on(rows, self.n_read) for rows in later.rejected]
        _add(self.files, later.files)
        self.n_read += later.n_read
        self.n_kept += later.n_kept
        _add(self.reasons, later.reasons)
        _add(self.expected, later.expected)
        self.advice |= later.advice
        if later.last is not None:
            self.last = max(self.last or 0, later.last)
        self.fractions = self.fractions or later.fractions
        for kind, is_whole in later.all_whole.items():
            self.all_whole[kind] = self.all_whole.get(kind, True) and is_whole
        self.empty = later.empty


@dataclass(frozen=True)
class Scattered:
    """The events of `n` buckets as they were read: each task has a part of every bucket, and its
    rows are numbered from `firsts` on."""

    folder: Path
    firsts: tuple[int, ...]
    n: int
    empty: pl.DataFrame

    def read(self, bucket: int) -> pl.DataFrame:
        """All rows of one bucket, in the order in which they were read."""
        return pl.concat(
            read_bucket(task_folder(self.folder, task), bucket, self.empty).with_columns(
                pl.col("ordinal") + first
            )
            for task, first in enumerate(self.firsts)
        )

    def remove(self) -> None:
        """Take the rows away; what is known of them stays."""
        for task in range(len(self.firsts)):
            for bucket in range(self.n):
                bucket_file(task_folder(self.folder, task), bucket).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Reading:
    recipe: EtlRecipe
    config: ContractConfig
    rules: Rules
    pieces: Pieces
    tasks: Sequence[Sequence[Share]]
    n_buckets: int


def scatter(
    recipe: EtlRecipe, rules: Rules, stages: Stages, buckets: Buckets
) -> tuple[Pass, Scattered]:
    """Read, check and part the events; raises `DataError` as `contract.check` and `expect` do."""
    source = _source(recipe)
    now = recipe.contract.latest or datetime.now(UTC)
    config = recipe.contract.model_copy(update={"latest": now, "max_rejected_share": 1.0})
    pieces, tasks = in_pieces(source, buckets.rows), shared(source.event_paths())
    context = _Reading(recipe, config, rules, pieces, tasks, buckets.n)
    found, firsts = Pass(), []
    for part in stages.run("read", scatter_files, context, len(tasks), (Pass,)):
        firsts.append(found.n_read)
        found.add(part)
    _refuse_bad_share(found, recipe)
    return found, Scattered(stages.folder / "read", tuple(firsts), buckets.n, found.empty)


def scatter_files(reading: _Reading, number: int, folder: Path) -> Pass:
    """The task: some files or row groups, whose rows are numbered from 0."""
    found = Pass()
    out = Scatter(folder, reading.n_buckets)
    for path, piece in reading.pieces.of(reading.tasks[number]):
        refuse_without_ids(piece.rows.columns, reading.recipe)
        name = path.as_posix()
        found.files[name] = found.files.get(name, 0) + piece.height
        kept = _checked(piece, reading.recipe, reading.config, reading.rules, found)
        found.empty = kept.clear()
        out.add(kept, _buckets(kept, out.n))
    out.close()
    return found


def _numbered_on(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("row") + first)


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        counts[name] = counts.get(name, 0) + n


def _source(recipe: EtlRecipe) -> Files:
    assert isinstance(recipe.source, Files)
    return recipe.source


def _checked(
    piece: Table, recipe: EtlRecipe, config: ContractConfig, rules: Rules, found: Pass
) -> pl.DataFrame:
    """The sound rows of one piece; what is known of all pieces goes into `found`."""
    malformed = {"events": piece.malformed} if piece.malformed.height else {}
    unit = _source(recipe).time_unit
    raw = Raw(piece.rows, time_unit=unit, malformed=malformed)
    part = check_table("events", _plain_ids(piece.rows), raw, config, rules)
    checked = _expected(raw, part, recipe)
    events = _with_fraction(checked.raw.events)
    _note(found, part, checked, events)
    return events


def _plain_ids(rows: pl.DataFrame) -> pl.DataFrame:
    """Ids as text where a piece's values, not the column's type, would tell whether they fit
    int64."""
    wide = [kind for kind in KINDS if kind in rows.columns and _is_wide(rows.schema[kind])]
    return rows.with_columns(pl.col(wide).cast(pl.String)) if wide else rows


def _is_wide(dtype: pl.DataType) -> bool:
    return dtype in WIDE or isinstance(dtype, pl.Decimal)


def _expected(raw: Raw, part: Part, recipe: EtlRecipe) -> Checked:
    rejected = {"events": part.rejected} if part.rejected.height else {}
    checked = Checked(replace(raw, events=part.kept), rejected, {"rows_read": part.n_read})
    return expect(raw, checked, recipe.expect, 1.0) if part.kept.height else checked


def _with_fraction(events: pl.DataFrame) -> pl.DataFrame:
    """Every piece has the nanoseconds if there are times; they go again if none is above 0."""
    if "time" not in events.columns or FRACTION in events.columns:
        return events
    zero = pl.lit(0, pl.Int64).alias(FRACTION)
    place = events.columns.index("time")
    return events.with_columns(zero).select(
        *events.columns[:place], FRACTION, *events.columns[place:]
    )


def _note(found: Pass, part: Part, checked: Checked, events: pl.DataFrame) -> None:
    found.n_read += part.n_read
    found.n_kept += len(events)
    found.advice |= part.advice
    for reason, n in part.reasons.items():
        if reason not in found.reasons:
            found.first.append(part.rejected.filter(pl.col("reason") == reason).head(1))
        found.reasons[reason] = found.reasons.get(reason, 0) + n
    for reason, n in checked.counts.items():
        if reason.startswith("rejected: "):
            why = reason.removeprefix("rejected: ")
            found.expected[why] = found.expected.get(why, 0) + n
    if (rejected := checked.rejected.get("events")) is not None:
        found.rejected.append(rejected)
    if "time" in events.columns and len(events):
        found.last = max(found.last or 0, int(events["time"].to_numpy().max()))
        found.fractions = found.fractions or bool((events[FRACTION] != 0).any())
    for kind in KINDS:
        if kind in events.columns:
            found.all_whole[kind] = found.all_whole.get(kind, True) and whole(events[kind])


def _refuse_bad_share(found: Pass, recipe: EtlRecipe) -> None:
    most = recipe.contract.max_rejected_share * found.n_read
    firsts = pl.concat(found.first, how="diagonal") if found.first else pl.DataFrame()
    part = Part(
        "events", found.n_read, pl.DataFrame(), firsts, _ranked(found.reasons), found.advice
    )
    raw = Raw(pl.DataFrame(), files=tuple(found.files.items()))
    if (n_bad := sum(found.reasons.values())) > most:
        raise DataError(refusal(part, n_bad, raw, recipe.contract))
    if (n_bad := sum(found.expected.values())) > most:
        told = ", ".join(f"{n:,} x {why}" for why, n in found.expected.items())
        raise DataError(
            f"events: {n_bad:,} of {found.n_read:,} rows break what the recipe expects, more than "
            f"contract.max_rejected_share = {recipe.contract.max_rejected_share:.1%}: {told}"
        )
    if not found.n_kept:
        raise DataError("events: no row is left to learn from")


def _ranked(reasons: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(reasons.items(), key=lambda one: (-one[1], one[0])))


def _buckets(events: pl.DataFrame, n: int) -> pl.Series:
    """The bucket of each row. Rows that may repeat each other share one, and so do ids that look
    alike."""
    if "user" in events.columns:
        user = events["user"]
        key = (form_of(user) if user.dtype == pl.String else user).hash()
    elif "item" in events.columns:
        key = events.select("item", *(["time"] if "time" in events.columns else [])).hash_rows()
    else:
        key = events.drop("ordinal", FRACTION, strict=False).hash_rows()
    return (key % n).cast(pl.UInt32)
