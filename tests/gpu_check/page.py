"""docs/gpu.md from the files of figures: python -m tests.gpu_check.page"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.gpu_check.__main__ import FIGURES, PARTS, ROOT, value_of

PAGE = ROOT / "docs" / "gpu.md"

HEAD = """# Falconer on a GPU

`make gpu-check` measures on the machine that it runs on: what a GPU computes beside what the CPU
does, and how fast. It takes at most 8 minutes and any Python 3.11 or 3.12 that has torch 2.11 or
newer and falconer's base dependencies (`make gpu-check PYTHON=/path/to/python`; the exported graphs
need onnx and onnxruntime too, the ETL's part cuDF and NVTabular). Every part is a process of its
own, and its figures are kept even where a later part fails. `make gpu-check SMALL=1` runs the same
code in small on the CPU. The figures go to `docs/figures/gpu/`,
and `make gpu-page` writes this page
from them.
"""
NONE = """
## What has been measured

**Nothing has run on a GPU yet.** Everything in the table is unchecked there; its code runs in small
on the CPU with every run of the tests, which says nothing about a GPU.

| part | what it would say |
|---|---|
"""


def page(files: Sequence[dict[str, Any]]) -> str:
    """The whole page from the content of the files of figures of GPUs."""
    measured = [content for content in files if not content["small"]]
    if not measured:
        return HEAD + NONE + "".join(f"| {part.name} | {part.title} |\n" for part in PARTS)
    return HEAD + "".join(_device(content) for content in measured)


def _device(content: dict[str, Any]) -> str:
    lines = [
        f"\n## {content['device']}, {content['date']}\n",
        f"falconer {content['falconer']}, torch {content['torch']}, Python {content['python']}.\n",
        "| part | figure | value | limit | beside |",
        "|---|---|---|---|---|",
    ]
    for part in content["parts"]:
        lines += [_row(part["name"], figure) for figure in part["figures"]]
        if part["state"] != "done":
            lines.append(f"| {part['name']} | **{part['state']}** | {part['message']} | | |")
    return "\n".join(lines) + "\n"


def _row(name: str, figure: dict[str, Any]) -> str:
    limit = "" if figure["limit"] is None else f"{figure['limit']:g}"
    broken = "" if figure["holds"] else " **broken**"
    value = f"{value_of(figure)}{broken}"
    return f"| {name} | {figure['what']} | {value} | {limit} | {figure['beside']} |"


def current(folder: Path = FIGURES) -> str:
    """The page as the files say it, and what else was seen there (`<device>-<date>.md`)."""
    written = page([json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))])
    notes = [path.read_text("utf-8") for path in sorted(folder.glob("*.md"))]
    return "\n".join([written, *notes])


if __name__ == "__main__":
    PAGE.write_text(current(), encoding="utf-8")
