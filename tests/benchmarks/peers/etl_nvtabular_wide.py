"""The same as an NVTabular workflow with its default settings, whose import is mended and takes
neither TensorFlow nor torch along.

python etl_nvtabular_wide.py ROWS.parquet FOLDER
"""

from __future__ import annotations

import sys

from falconer.pipelines.compat import importing_nvtabular

with importing_nvtabular():
    import nvtabular as nvt
    from merlin.io import Dataset

source, folder = sys.argv[1:]
numbers = [f"x{place}" for place in range(13)] >> nvt.ops.Normalize()
categories = [f"c{place}" for place in range(26)] >> nvt.ops.Categorify(out_path=folder)
workflow = nvt.Workflow(numbers + categories + ["label"])
workflow.fit_transform(Dataset(source, engine="parquet")).to_parquet(f"{folder}/out")
