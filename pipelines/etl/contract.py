"""The contract between a source and everything after it: canonical types, and bad rows set apart
with a reason.

A row is rejected for the first reason that holds. Rejected rows leave exactly as they came, with
`reason` and `row` (0-based in the source), so that kept and rejected rows together are the source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Literal

import polars as pl
from pydantic import AfterValidator, Field

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import name_of
from falconer.pipelines.data.shown_rows import shown_rows
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import (
    Column,
    Fault,
    identifiers,
    look_alikes,
    numbers,
    plain,
    text,
    true,
)
from falconer.pipelines.etl.common_ids import with_common_ids
from falconer.pipelines.etl.raw import FRACTION, Raw
from falconer.pipelines.etl.times import Times, times

LONGEST_SHOWN = 80
LEAST_CHANCE = 1e-12
"""No log is long enough for less: it is a number that something else wrote."""
KEYS = {"users": "user", "items": "item"}
"""Of the tables with one row each."""
REQUIRED_NUMBERS = ("rating", "weight", "label")
"""Of events."""


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class ContractConfig(Config):
    """What a row may be. A moment without a zone counts as UTC."""

    max_rejected_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Above this share of rejected rows (duplicate keys apart) a table is refused as a whole."""
    earliest: Moment = datetime(1980, 1, 1, tzinfo=UTC)
    """An event before this is rejected: seconds read as milliseconds land in January 1970."""
    latest: Moment | None = None
    """An event after this is rejected; None means the moment of the check."""
    repeated_keys: Literal["first", "last", "refuse"] = "first"
    """Of several rows for one user or item in their table: which one counts, `last` being the
    newest where rows were appended; the others are set aside and counted. `refuse` stops the
    build."""


@dataclass(frozen=True)
class Checked:
    """`raw` in canonical types; `rejected`: table name -> rows as they came with `reason` and
    `row`; `counts`."""

    raw: Raw
    rejected: dict[str, pl.DataFrame]
    counts: dict[str, int]


def check(
    raw: Raw,
    config: ContractConfig,
    *,
    numeric: Mapping[str, Collection[str]] | None = None,
    binary: Collection[str] = (),
    id_types: Mapping[str, pl.DataType] | None = None,
) -> Checked:
    """Convert every table of `raw` to the types that `Raw` promises, and set bad rows apart.

    `numeric` names feature columns that must be numbers ("events", "users" or "items" -> names):
    text in them is converted to float64, and a row whose text is no number is rejected. In every
    float feature NaN becomes null, and an infinite value rejects the row. `binary` names event
    columns that must be 0 or 1. Of several user or item rows with one key the first is kept.
    Ids become int64 where every id of that kind in every table is a whole number in its usual
    writing, else strings; `id_types` ("user", "item") says otherwise.

    `counts` holds `rows_read`, `rejected: <reason>`, the like for "users" and "items", and the
    events whose user or item has no row in its table (they stay: such a table need not be
    complete). Raises `DataError` where a column's type is wrong, where more than
    `max_rejected_share` of a table is rejected (with counts, the first row of each reason and the
    remedy), or where no event is left.
    """
    tables = {"events": raw.events, "users": raw.users, "items": raw.items}
    checks = {}
    for name, frame in tables.items():
        if frame is not None:
            required = REQUIRED_NUMBERS if name == "events" else ()
            rules = Rules(
                required, (numeric or {}).get(name, ()), binary if name == "events" else ()
            )
            checks[name] = check_table(name, frame, raw, config, rules)
    kept = {name: part.kept for name, part in checks.items()}
    if kept["events"].is_empty():
        raise DataError("events: no row is left to learn from" + _summary(checks["events"], raw))
    checked = replace(
        raw,
        events=kept["events"],
        users=kept.get("users"),
        items=kept.get("items"),
        time_unit="s",
        malformed={},
    )
    checked = with_common_ids(checked, id_types or {})
    checked = replace(checked, notes=(*raw.notes, *_look_alike_notes(checked)))
    counts = {
        key: count for name, part in checks.items() for key, count in counts_of(name, part).items()
    }
    return Checked(
        raw=checked,
        rejected={name: part.rejected for name, part in checks.items() if part.rejected.height},
        counts=counts | unlisted(checked),
    )


@dataclass(frozen=True)
class Part:
    """One table, or a piece of it, told apart into what is kept and what is rejected; `advice` by
    reason."""

    name: str
    n_read: int
    kept: pl.DataFrame
    rejected: pl.DataFrame
    reasons: dict[str, int]
    """Reason -> number of rejected rows, most frequent first."""
    advice: dict[str, str]


def _reasons(rejected: pl.DataFrame) -> dict[str, int]:
    counted = rejected.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counted.iter_rows())


@dataclass(frozen=True)
class Rules:
    """Columns of one table that must be a number, may be null but else must be one, must be 0 or 1,
    and must be a chance that something had."""

    required: Collection[str]
    numeric: Collection[str] = ()
    binary: Collection[str] = ()
    chances: Collection[str] = ()


def check_table(
    name: str, frame: pl.DataFrame, raw: Raw, config: ContractConfig, rules: Rules
) -> Part:
    """Check the rows of one table, which `raw` describes; raises as `check` does."""
    try:
        converted, faults = _convert(frame, raw.time_unit, config, rules)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    code = _first_fault(faults, frame.height)
    malformed = raw.malformed.get(name)
    n_read = frame.height + (0 if malformed is None else malformed.height)
    n_faulty = n_read - frame.height + int((code > 0).sum())
    if name in KEYS:
        key = converted[KEYS[name]]
        faults.append(_repeated(name, key, code, config.repeated_keys))
        code = _first_fault(faults, frame.height)
    rejected = _rejected_rows(frame, code, faults, malformed)
    kept = converted.filter(code == 0) if rejected.height else converted
    advice = {fault.reason: fault.advice for fault in faults}
    part = Part(
        name,
        n_read,
        kept if name == "events" else kept.drop("ordinal", strict=False),
        rejected,
        _reasons(rejected),
        advice,
    )
    if n_faulty > config.max_rejected_share * n_read:
        raise DataError(refusal(part, n_faulty, raw, config))
    return part


def _convert(
    frame: pl.DataFrame, unit: str, config: ContractConfig, rules: Rules
) -> tuple[pl.DataFrame, list[Fault]]:
    """Canonical columns, and all faults in the order in which they take precedence."""
    absent = [name for name in rules.numeric if name not in frame.columns]
    if absent:
        there = ", ".join(map(name_of, frame.columns))
        raise DataError(f"no column {name_of(absent[0])!r}; it has: {there}")
    columns: list[pl.Series] = []
    faults: list[Fault] = []
    latest = config.latest or datetime.now(UTC)
    for series in frame:
        column = (
            times(series, unit, earliest=config.earliest, latest=latest)
            if series.name == "time"
            else _column(series, rules)
        )
        if isinstance(column, Times) and (column.fraction != 0).any():
            columns.append(column.fraction.alias(FRACTION))
        columns.append(column.values)
        faults.extend(column.faults)
    return pl.DataFrame(columns), faults


def _column(series: pl.Series, rules: Rules) -> Column:
    """Any column but the time."""
    if series.name in ("user", "item"):
        return identifiers(series)
    if series.name in (*rules.required, *rules.numeric) or series.dtype.is_float():
        return _number(series, rules)
    return Column(text(series) if series.name == "label" else plain(series, "a number or text"), ())


def _number(series: pl.Series, rules: Rules) -> Column:
    column = numbers(series, required=series.name in rules.required)
    faults = [*column.faults]
    if series.name in rules.binary:
        faults.append(_not_binary(column.values))
    if series.name in rules.chances:
        faults += _no_chance(column.values)
    return Column(column.values, tuple(faults))


def _not_binary(values: pl.Series) -> Fault:
    advice = "set target.above to a threshold where the column is no label of 0 or 1"
    return Fault(
        f"{values.name} is neither 0 nor 1", ~values.is_in([0.0, 1.0]).fill_null(value=True), advice
    )


def _no_chance(values: pl.Series) -> list[Fault]:
    advice = "write the probability with which the row's item was chosen, above 0 and at most 1"
    return [
        Fault(f"{values.name} is 0 or less", true(values <= 0), advice),
        Fault(f"{values.name} is below {LEAST_CHANCE:g}", true(values < LEAST_CHANCE), advice),
        Fault(f"{values.name} is above 1", true(values > 1), advice),
    ]


def _first_fault(faults: Sequence[Fault], height: int) -> pl.Series:
    """1 + the number of the first fault of each row; 0 where there is none."""
    code = pl.zeros(height, dtype=pl.UInt16, eager=True)
    for number, fault in reversed(list(enumerate(faults, start=1))):
        if fault.mask.any():
            code = pl.select(
                pl.when(fault.mask).then(pl.lit(number, pl.UInt16)).otherwise(code)
            ).to_series()
    return code


def _repeated(name: str, key: pl.Series, code: pl.Series, rule: str) -> Fault:
    """Rows of table `name` whose key another sound row has; rows with a fault do not count."""
    sound = pl.select(pl.when(code == 0).then(key)).to_series().alias(key.name)
    counts = sound.is_last_distinct() if rule == "last" else sound.is_first_distinct()
    repeated = sound.is_not_null() & ~counts
    if rule == "refuse" and repeated.any():
        raise DataError(
            f"{name}: {int(repeated.sum()):,} rows repeat the {key.name} of an earlier row, first "
            f"{sound.filter(repeated)[0]!r}; keep one each, or set "
            'contract.repeated_keys = "first" '
            'or "last"'
        )
    other = "a later" if rule == "last" else "an earlier"
    return Fault(f"{key.name} is a duplicate of {other} row", repeated)


def _rejected_rows(
    frame: pl.DataFrame, code: pl.Series, faults: Sequence[Fault], malformed: pl.DataFrame | None
) -> pl.DataFrame:
    reasons = pl.Series("reason", ["", *(fault.reason for fault in faults)])
    row = frame["ordinal"] if "ordinal" in frame.columns else pl.arange(frame.height, eager=True)
    bad = code > 0
    rejected = frame.filter(bad).drop("ordinal", strict=False)
    rejected = rejected.with_columns(
        reasons.gather(code.filter(bad)), row.filter(bad).cast(pl.Int64).alias("row")
    )
    if malformed is None:
        return rejected
    return pl.concat([rejected, malformed], how="diagonal").sort("row")


def refusal(part: Part, n_faulty: int, raw: Raw, config: ContractConfig) -> str:
    """Why a table with so many bad rows is refused."""
    share = n_faulty / part.n_read
    return (
        f"{part.name}: {n_faulty} of {part.n_read} rows are bad ({share:.1%}), "
        f"more than contract.max_rejected_share = {config.max_rejected_share:.1%}"
        + _summary(part, raw)
    )


def _summary(part: Part, raw: Raw) -> str:
    """A line for each reason: count, first row with its values, and what to do."""
    lines = []
    for reason, count in part.reasons.items():
        [first] = shown_rows(part.rejected.filter(pl.col("reason") == reason).head(1).to_arrow())
        values = ", ".join(
            f"{name_of(k)}={_short(v)}" for k, v in first.items() if k not in ("reason", "row")
        )
        advice = part.advice.get(reason)
        lines.append(
            f"\n  - {count} x {reason}; first {_place(part.name, first['row'], raw)}: {values}"
        )
        lines.append(f"\n    {advice}" if advice else "")
    return "".join(lines)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + "..."


def _place(name: str, row: int, raw: Raw) -> str:
    """File and row where the source has files, else the row alone."""
    first = 0
    for file, height in () if name in KEYS else raw.files:
        if row < first + height:
            return f"in {file}, row {row - first} (counted from 0)"
        first += height
    return f"in row {row} (counted from 0)"


def counts_of(name: str, part: Part) -> dict[str, int]:
    """What a dataset's card tells of the check of one table."""
    prefix = "" if name == "events" else f"{name} "
    read = "rows_read" if name == "events" else f"{name}_read"
    return {
        read: part.n_read,
        **{f"{prefix}rejected: {reason}": count for reason, count in part.reasons.items()},
    }


def unlisted(raw: Raw) -> dict[str, int]:
    """Events whose user or item has no row in the table of users or items, where there is such a
    table."""
    counts = {}
    for name, key, frame in (("users", "user", raw.users), ("items", "item", raw.items)):
        if frame is not None:
            counts[f"events without a row in {name}"] = raw.events.join(
                frame, on=key, how="anti"
            ).height
    return {name: count for name, count in counts.items() if count}


def _look_alike_notes(raw: Raw) -> Iterator[str]:
    for kind in ("user", "item"):
        if kind in raw.events.columns and raw.events.schema[kind] == pl.String:
            alike = look_alikes(raw.events[kind])
            yield from look_alike_note(kind, len(alike), alike["value"].head(2).to_list())


def look_alike_note(kind: str, n: int, pair: Sequence[str]) -> Iterator[str]:
    """What a reader must know of `n` ids that look like another one; nothing if there are none."""
    if n:
        yield (
            f"{n:,} {kind} ids differ from another only by blanks, a point and zeros, "
            f"leading zeros or Unicode form, for example {pair[0]!r} and {pair[1]!r}; they "
            "are different here."
        )
