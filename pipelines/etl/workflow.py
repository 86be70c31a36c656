"""A dataset's encodings for programs that know NVTabular and not us: `schema.pbtxt` of the train
files, and for each table a workflow that turns raw rows into ids and values of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.merlin_schema import write_schema
from falconer.pipelines.data.schema import column_of
from falconer.pipelines.errors import DataError, MissingExtraError
from falconer.pipelines.etl.catalogue import KINDS, of_dataset
from falconer.pipelines.etl.column_operators import MinMax
from falconer.pipelines.etl.engines import filled
from falconer.pipelines.etl.features import TABLES, Encoder, Encoding, Table
from falconer.pipelines.etl.operators import (
    Bucketize,
    Categorical,
    Continuous,
    Listed,
    columns_of,
)
from falconer.pipelines.files import atomic_directory


@dataclass(frozen=True)
class Output:
    """A column that a workflow makes: of which column of the raw rows, and how."""

    source: str
    encoding: Encoding


EXPORTED = Categorical | Bucketize | Continuous | MinMax


def export_workflow(dataset: Path, out: Path) -> None:
    """Write `schema.pbtxt` and a folder `workflow-<table>` for each table that has columns to
    encode into the folder `out`, which is replaced; says what is left out, by name.

    Raises `MissingExtraError` where NVTabular is not installed, and `DataError` where nothing of
    the dataset can be exported.
    """
    data = Dataset.open(dataset)
    tables = _outputs(data)
    if not any(tables.values()):
        raise DataError(f"{dataset}: has neither users, items nor a feature that NVTabular has")
    save = _nvtabular()
    with atomic_directory(out) as partial:
        write_schema(dataset, partial / "schema.pbtxt")
        for table, outputs in tables.items():
            if outputs:
                save(outputs, partial / f"workflow-{table}")
                say(f"{f'workflow-{table}':<15} {_told(outputs)}")


def _nvtabular() -> Any:
    try:
        from falconer.pipelines.etl.engines.nvtabular_workflow import save
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a workflow is written by the package {error.name!r}, which is not installed; "
            "`falconer doctor` says how to install it, or use `falconer export-schema`"
        ) from error
    return save


def _outputs(data: Dataset) -> dict[Table, dict[str, Output]]:
    """Table -> column of the dataset -> what makes it."""
    encoder, catalogue = Encoder.of_dataset(data), of_dataset(data)
    named: Mapping[str, str | None] = data.card.config["source"].get("columns", {})
    plain = Categorical(kind="categorical")
    found: dict[Table, dict[str, Output]] = {table: {} for table in TABLES}
    for kind in KINDS:
        values = catalogue.of(kind).values
        if len(values):
            found["event"][kind] = Output(named.get(kind) or kind, Encoding(plain, values))
    for table in TABLES:
        for name, encoding in encoder.encodings[table].items():
            if reason := _reason(encoding):
                say(f"left out        {table} feature {name}: {reason}")
            else:
                (source,) = columns_of(name, encoding.config)
                found[table][column_of(name)] = Output(source, filled(encoding))
    return found


def _reason(encoding: Encoding) -> str | None:
    """Why NVTabular cannot have the feature; None where it can."""
    if isinstance(encoding.config, Listed):
        return "NVTabular keeps a list in one column, and a dataset has one for each place"
    if not isinstance(encoding.config, EXPORTED):
        return f"NVTabular has no operator that gives what {encoding.config.kind} gives"
    if encoding.values is not None and encoding.values.is_empty():
        return "train has no value of it"
    return None


def _told(outputs: Mapping[str, Output]) -> str:
    return ", ".join(
        name if name == output.source else f"{name} of {output.source}"
        for name, output in outputs.items()
    )
