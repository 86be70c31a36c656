"""Parquet files are read in one place: elsewhere a folder called key=value would become a
column."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pipelines", "recsys", "vision", "workflows", "scripts")
OWNER = "pipelines/parquet.py"
READERS = {
    "ParquetDataset",
    "parquet_dataset",
    "read_pandas",
    "read_parquet",
    "scan_parquet",
}
"""Of pyarrow, Polars and pandas: all look at the path for columns, as `ParquetFile` never does.
`read_table` is looked for where it is called on a module."""
PARQUET_MODULES = {"pq", "pyarrow.parquet"}


def bare_readers(source: str) -> list[str]:
    """The readers that a module calls or imports, by name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if node.attr in READERS or (node.attr == "read_table" and owner in PARQUET_MODULES):
                found.append(f"{owner}.{node.attr}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyarrow."):
            found += [alias.name for alias in node.names if alias.name in READERS | {"read_table"}]
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None) or ""
            found += [name for name in names if f"{module}.{name}".endswith("pyarrow.dataset")]
    return found


def test_parquet_is_read_in_one_place() -> None:
    strangers = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name != OWNER and (found := bare_readers(path.read_text(encoding="utf-8"))):
                strangers[name] = found
    assert strangers == {}


def test_the_rule_bites() -> None:
    assert bare_readers("import pyarrow.parquet as pq\npq.read_table('x')") == ["pq.read_table"]
    assert bare_readers("import polars as pl\npl.scan_parquet('x')") == ["pl.scan_parquet"]
    assert bare_readers("from pyarrow.parquet import read_table") == ["read_table"]
    assert bare_readers("from pyarrow import dataset") == ["dataset"]
    assert bare_readers("file.read_table()") == []
