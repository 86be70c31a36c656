"""A model as a LiteRT (TFLite) file, in float32 or with int8 weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exporting.checked_file import FORMAT_VERSION, near_enough, put
from falconer.pipelines.files import scratch_folder
from falconer.recsys.exporting.export import Export
from falconer.recsys.exporting.judged import Answer, FileScorer, cost, judged
from falconer.recsys.exporting.saved_model import served_of


def write(export: Export, out: Path) -> None:
    """Write the file, and `<out>.json` beside it. What int8 costs is measured on the validation
    fold; above `max_cost` nothing is written."""
    served = served_of(export)
    from falconer.recsys.backends.tensorflow import litert, serving

    example, int8 = export.questions.example(), export.config.weights == "int8"
    with scratch_folder() as folder:
        serving.write(serving.module_of(served, example), str(folder))
        content = litert.converted(str(folder), int8=int8)
        size = len(litert.converted(str(folder), int8=False)) if int8 else len(content)
    answer = litert.answering(content)
    parity = export.questions.compare(answer)
    found = (
        {**asdict(parity), **_cost(export, answer, size, len(content))}
        if int8
        else near_enough(parity, export.config.tolerance)
    )
    about = {"format_version": FORMAT_VERSION, **export.facts, "weights": export.config.weights}
    put(out, content, {**about, "inputs": serving.inputs_of(example), **found})


def _cost(export: Export, answer: Answer, float_bytes: int, int8_bytes: int) -> dict[str, Any]:
    """What int8 costs, said and as facts; `ArtifactError` where that is too much."""
    data, most = export.data, export.config.max_cost
    inputs = export.graph.inputs
    file = FileScorer(answer, export.form, inputs, export.card.n_items, data)
    model = judged(export.scorer, data, "the model")
    lost = cost(model, judged(file, data, "int8"), data)
    say(
        f"int8: {int8_bytes:,} bytes, {float_bytes:,} in float32; on fold valid it costs "
        f"{lost.difference:.4f} of {lost.metric} ({lost.low:.4f} to {lost.high:.4f}, "
        f"{100 * lost.level:g}% interval, {lost.n:,} questions); the model has "
        f"{model.report.metrics[lost.metric].mean:.4f}"
    )
    if lost.difference > most:
        raise ArtifactError(
            f"int8 costs {lost.difference:.4f} of {lost.metric}, and {most:g} is allowed: nothing "
            "was written. Allow more with --set max_cost=..., or leave weights in float32"
        )
    return {
        "float32_bytes": float_bytes,
        "int8_bytes": int8_bytes,
        "metric": lost.metric,
        "cost": lost.difference,
        "cost_low": lost.low,
        "cost_high": lost.high,
        "cost_questions": lost.n,
    }
