"""Writing an exported model: only where its answers are near the model's, with a page of facts
beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.exporting.onnx_file import OPSET, Session
from falconer.pipelines.exporting.parity import Parity, refuse_far
from falconer.pipelines.files import atomic_file, write_json

FORMAT_VERSION = 1


def refuse_place(out: Path, model_directory: Path) -> None:
    """`ConfigError` where `out` is no name for an ONNX file, or lies in the model's own folder."""
    if out.is_dir() or out.suffix != ".onnx":
        raise ConfigError(f"{out}: name a file that ends with .onnx")
    refuse_inside(out, model_directory)


def refuse_inside(out: Path, model_directory: Path) -> None:
    """`ConfigError` where `out` lies in the model's own folder."""
    if model_directory.resolve() in out.resolve().parents:
        raise ConfigError(
            f"{out}: the model's own folder holds nothing else; write the file beside it"
        )


def with_format(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with the version of their form, and the operations' own."""
    return {"format_version": FORMAT_VERSION, **facts, "opset": OPSET}


def metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts as an ONNX file keeps them: texts as they are, all else as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()
    }


def near_enough(parity: Parity, tolerance: float) -> dict[str, Any]:
    """What the comparison found, as facts; `ArtifactError` where it is not near enough."""
    refuse_far(parity, tolerance)
    say(f"{parity.n_scores:,} scores compared: largest difference {parity.largest_difference:.2g}")
    return {"tolerance": tolerance, **asdict(parity)}


def write_checked(
    out: Path, content: bytes, facts: Mapping[str, Any], parity: Parity, *, tolerance: float
) -> None:
    """Write `content` to `out`, and to `<out>.json` the facts, what goes in, and what the
    comparison found.

    Raises `ArtifactError`, with nothing written, where the answers are not near enough.
    """
    inputs = Session(content).inputs
    put(out, content, {**facts, "inputs": inputs, **near_enough(parity, tolerance)})


def put(out: Path, content: bytes, facts: Mapping[str, Any]) -> None:
    """Write `content` to `out`, and to `<out>.json` the facts with its checksum."""
    about = {**facts, "sha256": hashlib.sha256(content).hexdigest()}
    write_json(out.with_name(f"{out.name}.json"), about)
    with atomic_file(out) as partial:
        partial.write_bytes(content)
