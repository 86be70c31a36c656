"""Each shim is still needed; a test that fails here says which one can go."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import types
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from falconer.pipelines import compat
from falconer.pipelines.compat import counting_sizes
from falconer.pipelines.errors import PipelineError


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh Python, where nothing has been imported yet."""
    clean = {name: value for name, value in os.environ.items() if name != compat.QUERY_PLANNING}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        timeout=240,
        check=False,
    )


RECORD_REQUESTS = """
    import sys, warnings
    from importlib.abc import MetaPathFinder
    import polars  # looks for torch too, and does not import it

    class Recorder(MetaPathFinder):
        asked = set()

        def find_spec(self, name, path, target=None):
            if name in ("tensorflow", "torch"):
                self.asked.add(name)
                raise ImportError("not in this test")

    sys.meta_path.insert(0, Recorder())
"""


def test_nvtabular_is_imported_without_frameworks_and_without_a_warning() -> None:
    done = run(
        RECORD_REQUESTS
        + """
    warnings.simplefilter("error")
    from falconer.pipelines.etl.engines import engine_of
    engine_of("nvtabular")
    print(sorted(Recorder.asked), [name for name in ("tensorflow", "torch") if name in sys.modules])
    """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "[] []"


def test_hiding_frameworks_is_still_needed() -> None:
    done = run(
        RECORD_REQUESTS + "\n    import nvtabular\n    print(sorted(Recorder.asked))",
        **{compat.QUERY_PLANNING: "False"},
    )
    assert done.stdout.strip() == "['tensorflow', 'torch']", (
        "merlin-core no longer imports them: stop hiding them"
    )


def test_legacy_dask_frames_are_still_needed() -> None:
    done = run(
        RECORD_REQUESTS
        + """
    import nvtabular, pandas
    from merlin.io import Dataset
    from nvtabular import ops
    table = Dataset(pandas.DataFrame({"a": [1, 2]}), cpu=True)
    nvtabular.Workflow(["a"] >> ops.Categorify()).fit(table)
    """
    )
    assert done.returncode != 0, (
        "NVTabular works with Dask's new data frames: the choice of the old ones can go"
    )
    assert "dask" in done.stderr


def test_every_known_warning_still_comes() -> None:
    done = run(
        """
        import warnings
        shown = []
        def keep(message, category, *rest):
            shown.append((category, str(message)))

        warnings.showwarning = keep
        from contextlib import nullcontext
        from falconer.pipelines import compat
        compat.quiet = nullcontext
        warnings.simplefilter("always")
        import polars as pl, re
        from falconer.pipelines.etl.engines import engine_of
        from falconer.pipelines.etl.operators import (Continuous)
        table = pl.DataFrame({"x": [0.1] * 100})
        engine_of("nvtabular").fit(table, {"x": Continuous(kind="continuous")})
        for category, pattern in compat.KNOWN_WARNINGS:
            if not any(
                issubclass(found, category) and re.match(pattern, text) for found, text in shown
            ):
                print(pattern)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", (
        "these warnings no longer come: take them out of compat.KNOWN_WARNINGS"
    )


def test_every_moved_name_is_still_asked_for_and_still_elsewhere() -> None:
    """What merlin-models imports is read from its source; whether the old name is there is asked of
    TensorFlow."""
    done = run(
        """
        import importlib, re, sys
        from importlib.util import find_spec
        from pathlib import Path
        from falconer.pipelines import compat
        folder = Path(find_spec("merlin").submodule_search_locations[0]) / "models"
        source = "\\n".join(path.read_text() for path in folder.rglob("*.py"))
        for old in compat.MOVED:
            parent, _, name = old.rpartition(".")
            taken = rf"from {parent} import .*\\b{name}\\b|(from|import) {old}\\b"
            if not re.search(taken, source):
                print(old, "is not imported by merlin-models")
        for old in compat.MOVED:
            try:
                importlib.import_module(old)
            except ImportError:
                continue
            print(old, "is there")
        python = importlib.import_module("tensorflow.python")
        for name in compat.MOVED_FUNCTIONS:
            if hasattr(python, name):
                print(name, "is there")
        """,
        TF_USE_LEGACY_KERAS="1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "these can go from compat.MOVED or compat.MOVED_FUNCTIONS"


@pytest.mark.slow
def test_merlin_models_can_be_imported_and_used() -> None:
    done = run(
        """
        from falconer.pipelines.compat import importing_merlin_models
        with importing_merlin_models():
            import merlin.models.tf as mm
        import numpy as np, tensorflow as tf
        from merlin.schema import ColumnSchema, Schema, Tags
        domain = {"domain": {"min": 0, "max": 4, "name": "a"}}
        schema = Schema([
            ColumnSchema("a", dtype=np.int64, tags=[Tags.CATEGORICAL], properties=domain),
            ColumnSchema("x", dtype=np.float32, tags=[Tags.CONTINUOUS]),
            ColumnSchema("y", dtype=np.int64, tags=[Tags.TARGET, Tags.BINARY_CLASSIFICATION]),
        ])
        model = mm.DLRMModel(
            schema, embedding_dim=4, bottom_block=mm.MLPBlock([4]), top_block=mm.MLPBlock([8]),
            prediction_tasks=mm.BinaryOutput("y"),
        )
        inputs = {"a": tf.constant([[1], [2]]), "x": tf.constant([[0.5], [1.0]])}
        print(model(inputs).shape)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(2, 1)"


def test_merlin_models_after_another_keras_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    monkeypatch.delenv(compat.LEGACY_KERAS, raising=False)
    with pytest.raises(PipelineError, match=compat.LEGACY_KERAS), compat.importing_merlin_models():
        pass


def test_quiet_lets_other_warnings_through() -> None:
    with pytest.warns(UserWarning, match="something else"), compat.quiet():
        warnings.warn("something else", UserWarning, stacklevel=1)


def test_frameworks_are_hidden_in_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "NOT_NEEDED_BY_THE_ETL", ("a_framework", "sys"))
    with compat.importing_nvtabular(), pytest.raises(ImportError, match="halted"):
        importlib.import_module("a_framework")
    assert "a_framework" not in sys.modules
    assert sys.modules["sys"] is sys


def test_new_dask_frames_imported_before_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_expr", types.ModuleType("dask_expr"))
    with pytest.raises(PipelineError, match=compat.QUERY_PLANNING), compat.importing_nvtabular():
        pass


def test_cudf_gets_the_name_that_it_dropped_and_keeps_one_that_it_has() -> None:
    new, old = types.ModuleType("column"), types.ModuleType("column")
    old.build_categorical_column = len  # type: ignore[attr-defined]
    compat.give_missing_name(new)
    compat.give_missing_name(old)
    assert hasattr(new, "build_categorical_column")
    assert old.build_categorical_column is len  # type: ignore[attr-defined]


def test_sizes_of_groups_are_counts_under_their_own_name() -> None:
    frame = pd.DataFrame({"key": ["a", "b", "a", "a"], "x": [1.0, 2.0, 3.0, 4.0]})

    def refusing(groups: Any, func: Any) -> Any:  # as cuDF's
        assert not any("size" in names for names in func.values())
        return groups.agg(func)

    counting = counting_sizes(refusing)
    for asked in (
        {"key": ["size"]},
        {"key": ["size", "count"], "x": ["sum", "min"]},
        {"x": ["max"]},
        {"key": "count", "x": "sum"},
    ):
        groups = frame.groupby(["key"], dropna=False)
        pd.testing.assert_frame_equal(counting(groups, asked), groups.agg(asked))
    assert counting_sizes(counting) is counting


def test_the_compiler_of_nvidias_package_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "nvidia-cuda-nvrtc-cu12"
    compat.load_compiler()  # nothing where it is not installed
    library = tmp_path / "nvidia" / "cuda_nvrtc" / "lib" / compat.NVRTC
    library.parent.mkdir(parents=True)
    library.touch()
    info = tmp_path / f"{name.replace('-', '_')}-12.9.86.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 12.9.86\n")
    (info / "RECORD").write_text(f"{library.relative_to(tmp_path)},,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded: list[str] = []
    monkeypatch.setattr(compat.ctypes, "CDLL", lambda path, mode: loaded.append(path))
    compat.load_compiler()
    assert loaded == [str(library)]
