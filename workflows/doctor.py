"""`falconer doctor`: what this machine can do, and the command that mends each lack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from subprocess import CompletedProcess

IMPORT_SECONDS = 180
PROBES_AT_ONCE = 2
DISK_GB, MEMORY_GB = 2, 4
"""What `falconer demo` may need."""

GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
MEND_GPU = ".venv/bin/pip install --no-deps -r requirements-gpu.lock"
MEND_GPU_POLARS = "scripts/gpu-polars"
MEND_ALL = "make setup"
MEND_LOCKED = (
    "in a checkout of falconer's source: make setup, or pip install --no-deps -r requirements.lock"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report. `broken`: falconer cannot work; `absent`: something optional is not
    here."""

    state: Literal["ok", "absent", "broken"]
    text: str
    remedy: str | None = None


@dataclass(frozen=True)
class Package:
    """A package to try: its distribution, a program that imports it, what it is for, whether this
    release needs it."""

    distribution: str
    program: str
    purpose: str
    needed: bool = False
    on_gpu: str | None = None
    """The line that adds it where there is a GPU; elsewhere it is of no use."""


LOCKED_ONLY = ("nvtabular", "merlin-models", "dask-cuda")
"""No resolver can install these together: the lock can."""

NVTABULAR = (
    "from falconer.pipelines.compat import importing_nvtabular\n"
    "with importing_nvtabular():\n    import nvtabular"
)
CUDF = "import cudf; assert cudf.Series([1, 2]).sum() == 3"
POLARS_GPU = "from falconer.pipelines.etl.engines import engine_of\nengine_of('polars-gpu')"
PACKAGES = (
    Package("polars", "import polars", "tables of the ETL", needed=True),
    Package("numba", "import numba", "ranking in machine code; without it, NumPy"),
    Package("nvtabular", NVTABULAR, "the ETL's engine; without it, Polars"),
    Package("implicit", "import implicit.als", "the recommenders als and bpr"),
    Package("mlflow", "import mlflow", "mirror of the runs"),
    Package("torch", "import torch", "training in PyTorch"),
    Package("tensorflow", "import tensorflow", "training in TensorFlow"),
    Package(
        "merlin-models",
        "import merlin.core, merlin.schema",
        "layers of wide_deep, dlrm and ncf in TensorFlow",
    ),
    Package("dask-cuda", "import dask_cuda", "several GPUs"),
    Package(
        "cudf-cu12",
        CUDF,
        "the ETL on an NVIDIA GPU; without it, it runs on pandas",
        on_gpu=MEND_GPU,
    ),
    Package(
        "cudf-polars-cu12",
        POLARS_GPU,
        "the ETL's engine polars-gpu, in an environment of its own",
        on_gpu=MEND_GPU_POLARS,
    ),
)


def doctor() -> None:
    """Say what works on this machine, what does not, and the command that mends each lack.

    Ends with exit code 2 where something is broken that every command needs, else with 0.

    Example: falconer doctor
    """
    from falconer.pipelines.console import say

    say(_title())
    broken = 0
    for finding in _findings():
        say(f"{finding.state:<7} {finding.text}")
        if finding.remedy:
            say(f"        mend: {finding.remedy}")
        broken += finding.state == "broken"
    say(f"{broken} broken; see above" if broken else "nothing that this release needs is broken")
    if broken:
        raise typer.Exit(2)


def _title() -> str:
    import platform
    from importlib.metadata import version

    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"falconer {version('falconer')}, Python {platform.python_version()}, {system}"


def _findings() -> Iterator[Finding]:
    gpu = find_gpu()
    yield gpu
    yield from _try_packages(gpu=gpu.state == "ok")
    yield find_data_mirror()
    yield find_disk(Path.cwd())
    yield find_memory()
    yield find_browser()
    yield from find_plugins()


def find_plugins() -> Iterator[Finding]:
    """What installed packages bring by entry points, and names that clash; nothing of it is
    imported."""
    from falconer.pipelines import plugins
    from falconer.pipelines.stages import OWN_NAMES
    from falconer.recsys.metrics import known_metrics
    from falconer.recsys.metrics.plugins import GROUP as METRICS
    from falconer.recsys.models.registry import GROUP as MODELS_GROUP
    from falconer.recsys.models.registry import MODELS

    own = {MODELS_GROUP: tuple(MODELS), METRICS: known_metrics(), **OWN_NAMES}
    for group, names in own.items():
        found = [name for name in plugins.installed(group) if name not in names]
        if found:
            yield Finding("ok", f"{group}: {', '.join(found)}")
        for clash in plugins.clashes(group, names):
            yield Finding("absent", f"{group}: {clash}")


def _try_packages(*, gpu: bool) -> Iterator[Finding]:
    """Import each package in a process of its own, some at a time; findings come in the table's
    order."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        yield from pool.map(lambda package: try_package(package, gpu=gpu), PACKAGES)


def try_package(package: Package, *, gpu: bool) -> Finding:
    """Whether a package is installed and imports."""
    from importlib.metadata import PackageNotFoundError, version

    lack: Literal["absent", "broken"] = "broken" if package.needed else "absent"
    remedy = remedy_for(package) if package.on_gpu is None else package.on_gpu if gpu else None
    try:
        name = f"{package.distribution} {version(package.distribution)}"
    except PackageNotFoundError:
        return Finding(lack, f"{package.distribution}: not installed ({package.purpose})", remedy)
    reason = _import_failure(package.program)
    if reason is None:
        return Finding("ok", f"{name}: imports ({package.purpose})")
    return Finding(lack, f"{name}: does not import: {reason} ({package.purpose})", remedy)


def remedy_for(package: Package) -> str:
    """The line that adds it: `make setup` in a checkout, else its extra."""
    from falconer.pipelines.extras import EXTRAS

    if package.distribution in LOCKED_ONLY:
        return MEND_LOCKED
    extra = EXTRAS.get(package.distribution)
    return f'{MEND_ALL}, or pip install "falconer[{extra}]"' if extra else MEND_ALL


def _import_failure(program: str) -> str | None:
    """The last line of what a program complains of; None where it runs."""
    import subprocess
    import sys

    command = [sys.executable, "-P", "-W", "ignore", "-c", program]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"still importing after {IMPORT_SECONDS} s"
    if found.returncode == 0:
        return None
    lines = found.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {found.returncode}"


def find_gpu() -> Finding:
    """Whether the NVIDIA driver answers, and with what."""
    found = _run(*GPU_QUERY)
    if found is None or found.returncode != 0 or not found.stdout.strip():
        return Finding(
            "absent",
            "NVIDIA GPU: none found (nvidia-smi does not answer); everything runs on the CPU",
        )
    return Finding("ok", f"NVIDIA GPU: {'; '.join(found.stdout.strip().splitlines())}")


def _run(*command: str) -> CompletedProcess[str] | None:
    """Run a short program; None where it is absent or does not end."""
    import subprocess

    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def find_data_mirror() -> Finding:
    """Whether the folder of published data files is named, and there."""
    name = "FALCONER_DATA_MIRROR"
    value = os.environ.get(name)
    remedy = f"export {name}=/path/to/a/folder/with/ml-1m.zip"
    if not value:
        return Finding(
            "absent",
            "data mirror: not set; MovieLens is downloaded from GroupLens when first used",
            remedy,
        )
    if not Path(value).is_dir():
        return Finding("absent", f"data mirror: {value} is no folder", remedy)
    files = sorted(path.name for path in Path(value).iterdir() if path.is_file())
    return Finding("ok", f"data mirror: {', '.join(files) or 'no file'} in {value}")


def find_disk(folder: Path) -> Finding:
    """Free disk at `folder`."""
    import shutil

    free = shutil.disk_usage(folder).free / 1e9
    if free >= DISK_GB:
        return Finding("ok", f"disk: {free:.0f} GB free in {folder}")
    return Finding(
        "absent",
        f"disk: {free:.1f} GB free in {folder}, the demo needs {DISK_GB}",
        "free some disk",
    )


def find_memory() -> Finding:
    """Memory that programs can have now."""
    lines = (
        Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        if Path("/proc/meminfo").exists()
        else []
    )
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    if not kilobytes:
        return Finding("absent", "memory: this system does not say what is free")
    free = kilobytes[0] * 1024 / 1e9
    if free >= MEMORY_GB:
        return Finding("ok", f"memory: {free:.0f} GB free")
    return Finding(
        "absent", f"memory: {free:.1f} GB free, the demo needs {MEMORY_GB}", "end other programs"
    )


def find_browser() -> Finding:
    """Whether Chromium is there, which only the tests of the reports need."""
    import shutil

    path = shutil.which("chromium")
    if path is None:
        return Finding(
            "absent",
            "Chromium: not found; only the browser tests need it",
            "scripts/system-packages",
        )
    found = _run(path, "--version")
    return Finding(
        "ok",
        f"Chromium: {found.stdout.strip() if found and found.stdout else path} (browser tests)",
    )
