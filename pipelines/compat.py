"""Every shim that old packages need, each with its reason; `tests/unit/test_compat.py` tells when
one can go.

NVTabular 23.8 and merlin-core 23.8 are the last releases; they were written for Dask 2023, cuDF 23
and TensorFlow 2.12.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, reload
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from falconer.pipelines.errors import PipelineError

QUERY_PLANNING = "DASK_DATAFRAME__QUERY_PLANNING"

NOT_NEEDED_BY_THE_ETL = ("tensorflow", "torch")
"""merlin-core imports both where they are installed, to map data types: some ten seconds and 1 GB
for nothing."""

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
"""Set to 1 it makes `tensorflow.keras` the Keras 2 of the package tf-keras: merlin-models cannot
use Keras 3."""

KERAS_2 = (
    "engine",
    "engine.compile_utils",
    "layers.preprocessing",
    "layers.preprocessing.preprocessing_utils",
    "saving.saving_lib",
    "utils.control_flow_util",
    "utils.generic_utils",
    "utils.layer_utils",
    "utils.losses_utils",
    "utils.metrics_utils",
    "utils.tf_inspect",
)
"""Modules that merlin-models imports from the package keras, as Keras 2 had them."""

MOVED: Mapping[str, str] = {
    "tensorflow.python.training.tracking": "tensorflow.python.trackable",
    "tensorflow.python.training.tracking.data_structures": (
        "tensorflow.python.trackable.data_structures"
    ),
    **{f"keras.{name}": f"tf_keras.src.{name}" for name in KERAS_2},
}
"""The name that merlin-models 23.12 imports -> the module's name now."""

MOVED_FUNCTIONS = ("to_dlpack", "from_dlpack")
"""merlin-models takes them from `tensorflow.python`; they are in `tensorflow.python.dlpack.dlpack`
now."""

NVRTC = "libnvrtc.so.12"
"""CUDA's compiler at run time, as cuDF 24.12's CuPy asks for it."""

KNOWN_WARNINGS: tuple[tuple[type[Warning], str], ...] = (
    # Dask announces the end of its legacy data frames, which are the only ones that merlin-core can
    # use.
    (FutureWarning, r"The legacy Dask DataFrame implementation is deprecated"),
    # merlin-core regrets each framework that it does not find; two of them are blocked on purpose.
    (UserWarning, r"(Tensorflow|PyTorch|Triton) dtype mappings did not load successfully"),
)


@contextmanager
def importing_nvtabular() -> Iterator[None]:
    """Within the block `import nvtabular` works, in two seconds, and without a warning.

    TensorFlow and torch are hidden for the time of the block only, and not at all where they are
    already imported; merlin-core remembers that it did not find them, which
    `importing_merlin_models` mends. Raises `PipelineError` where Dask's data frames were imported
    in their new form before.
    """
    _choose_legacy_dask()
    hidden = [name for name in NOT_NEEDED_BY_THE_ETL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        with quiet():
            _mend_cudf()
            yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def importing_dask_cuda() -> Iterator[None]:
    """Within the block `import dask_cuda` works, without a warning: where NVTabular is installed,
    with the legacy frames, since it imports Dask's."""
    if find_spec("nvtabular") is not None:
        _choose_legacy_dask()
    with quiet():
        yield


def choose_keras_2() -> None:
    """Before TensorFlow is imported: `tensorflow.keras` is Keras 2, which merlin-models needs, and
    its notes on start-up are left out. `import keras` is Keras 3 all the same."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "tensorflow" not in sys.modules:
        os.environ[LEGACY_KERAS] = "1"


@contextmanager
def importing_merlin_models() -> Iterator[None]:
    """Within the block `import merlin.models.tf` works; TensorFlow is imported with Keras 2, half a
    minute in all.

    What was moved answers to its old name in this process from then on. Raises `PipelineError`
    where TensorFlow was imported before with Keras 3.
    """
    _refuse_other_keras()
    _choose_legacy_dask()
    os.environ[LEGACY_KERAS] = "1"
    with quiet():
        for old, new in MOVED.items():
            sys.modules.setdefault(old, import_module(new))
        python, dlpack = (
            import_module("tensorflow.python"),
            import_module("tensorflow.python.dlpack.dlpack"),
        )
        for name in MOVED_FUNCTIONS:
            vars(python).setdefault(name, getattr(dlpack, name))
        _show_tensorflow_to_merlin()
        yield


def _refuse_other_keras() -> None:
    if "tensorflow" in sys.modules and os.environ.get(LEGACY_KERAS) != "1":
        raise PipelineError(
            "TensorFlow was imported before merlin-models, with a Keras that it cannot use; "
            f"set {LEGACY_KERAS}=1 in the environment and start again"
        )


def _show_tensorflow_to_merlin() -> None:
    """merlin-core remembers that it found no TensorFlow, where NVTabular was imported first."""
    remembered = sys.modules.get("merlin.core.compat.tensorflow")
    if remembered is None or vars(remembered)["tensorflow"] is not None:
        return
    found = reload(remembered)
    vars(import_module("merlin.table.tensorflow_column"))["tf"] = found.tensorflow
    reload(import_module("merlin.dtypes.mappings.tf"))


ON_A_GPU: tuple[tuple[type[Warning], str], ...] = (
    # NVTabular joins Arrow tables of categories by a former name of the option; with cuDF only.
    (FutureWarning, r"promote has been superseded by promote_options"),
)
"""Known from the sources, and not seen yet."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block the known warnings are silent; every other one stays as it is."""
    with warnings.catch_warnings():
        for category, message in (*KNOWN_WARNINGS, *ON_A_GPU):
            warnings.filterwarnings("ignore", message=message, category=category)
        yield


def _choose_legacy_dask() -> None:
    """merlin-core uses `dask.dataframe.core`, which Dask's new data frames ("query planning") do
    not have."""
    if "dask_expr" in sys.modules:
        raise PipelineError(
            "Dask's data frames were imported before NVTabular, in a form that it cannot use; "
            f"set {QUERY_PLANNING}=False in the environment and start again"
        )
    os.environ[QUERY_PLANNING] = "False"
    if "dask" in sys.modules:
        sys.modules["dask"].config.set({"dataframe.query-planning": False})


def _mend_cudf() -> None:
    """merlin-core imports a name that cuDF dropped in 2024, for partitioned remote files only,
    which we never read; and the two faults below, seen on a GPU."""
    try:
        from cudf.core import column
        from cudf.core.groupby import groupby
    except ImportError:
        return
    load_compiler()
    give_missing_name(column)
    groupby.GroupBy.agg = counting_sizes(groupby.GroupBy.agg)


def load_compiler() -> None:
    """Load the NVRTC of NVIDIA's package, where there is one: CuPy asks the system's loader for it
    by its bare name, and that finds a library that is loaded, but none in site-packages."""
    try:
        found = files("nvidia-cuda-nvrtc-cu12") or []
    except PackageNotFoundError:
        return
    for file in found:
        if file.name == NVRTC:
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)


def counting_sizes(agg: Callable[..., Any]) -> Callable[..., Any]:
    """A group-by's `agg` that takes `size` of a column as its count, and calls it `size` again.

    NVTabular's Categorify asks for the `size` of a key, which cuDF 24.12 refuses. Both are equal
    where no key is null, and none is: the engine replaces them. Once wrapped it stays as it is.
    """
    if agg.__module__ == __name__:
        return agg

    def aggregate(self: Any, func: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not (isinstance(func, dict) and any(_asks_size(names) for names in func.values())):
            return agg(self, func, *args, **kwargs)
        asked = [(name, which) for name, names in func.items() for which in names]
        sized = {name for name, which in asked if which == "size"}
        plain = {
            name: list(dict.fromkeys("count" if which == "size" else which for which in names))
            for name, names in func.items()
        }
        found = agg(self, plain, *args, **kwargs)
        found.columns = type(found.columns).from_tuples(
            (name, "size" if which == "count" and name in sized else which)
            for name, which in found.columns
        )
        for name in sized:
            if "count" in func[name]:
                found[name, "count"] = found[name, "size"]
        return found[asked]

    return aggregate


def _asks_size(names: object) -> bool:
    return isinstance(names, list) and "size" in names


def give_missing_name(column: ModuleType) -> None:
    """Give the module `cudf.core.column` the name `build_categorical_column`, unless it has it."""
    vars(column).setdefault("build_categorical_column", None)
