"""An exported model, read again: whole, and for a dataset whose ids mean what its own do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exporting.checked_file import FORMAT_VERSION
from falconer.pipelines.extras import missing
from falconer.pipelines.files import checksums, read_json, sha256_of
from falconer.recsys.backends.torch.graphs import Form
from falconer.recsys.exporting.judged import Answer, FileScorer, judged, metric_of
from falconer.recsys.exporting.saved_model import ABOUT


class About(BaseModel):
    """What an export says of itself; more stands there for people."""

    format_version: int
    model: str
    id_space: tuple[str, ...] = Field(min_length=1)
    n_items: int = Field(ge=0)
    form: Form
    inputs: tuple[dict[str, Any], ...]
    sha256: str | None = None
    content: dict[str, str] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """What each input of the graph reads."""
        return tuple(str(one.get("reads", one.get("name"))) for one in self.inputs)


def open_export(path: Path, data: Dataset) -> FileScorer:
    """A file or folder that `falconer export` wrote, ready to score queries of `data`.

    Raises `ArtifactError` where it is not whole, or where `data` is of another lineage than the
    model's.
    """
    about = _about(path)
    if not data.card.id_space.descends_from(IdSpace(generations=about.id_space)):
        raise ArtifactError(
            f"{path}: the model knows the ids of lineage {about.id_space[-1]}, and {data.path} "
            "does not descend from it; name the dataset that it was exported for, or one that "
            "extends it"
        )
    try:
        answer = _answering(path)
    except ModuleNotFoundError as error:
        raise missing(str(error.name), path.name) from error
    return FileScorer(answer, about.form, about.reads, about.n_items, data)


def check(path: Path, data: Dataset) -> None:
    """Print what the export is worth on the validation fold; raises as `open_export` does."""
    found = judged(open_export(path, data), data, path.name)
    metric = metric_of(found, data)
    value = found.report.metrics[metric]
    about = _about(path)
    say(
        f"{path.name}: {about.model}, {about.form}, whole; {metric} {value.mean:.4f}"
        f"{value.ends} on fold valid of {data.path}"
    )


def _about(path: Path) -> About:
    place = path / ABOUT if path.is_dir() else path.with_name(f"{path.name}.json")
    if not path.exists() or not place.is_file():
        raise ArtifactError(f"{place}: not found; name what `falconer export` wrote")
    try:
        about = About.model_validate(read_json(place))
    except ValidationError as error:
        raise ArtifactError(f"{place}: damaged; export the model again") from error
    if about.format_version != FORMAT_VERSION:
        raise ArtifactError(
            f"{place}: format version {about.format_version}, this release reads {FORMAT_VERSION}; "
            "export the model again"
        )
    whole = (
        checksums(path, leave_out=(ABOUT,)) == about.content
        if path.is_dir()
        else sha256_of(path) == about.sha256
    )
    if not whole:
        raise ArtifactError(
            f"{path}: damaged (not what {place.name} was written for); export the model again"
        )
    return about


def _answering(path: Path) -> Answer:
    if path.is_dir():
        from falconer.recsys.backends.tensorflow import serving

        return serving.answering(str(path))
    if path.suffix == ".onnx":
        from falconer.recsys.exporting import onnx_file

        return onnx_file.answering(path.read_bytes())
    from falconer.recsys.backends.tensorflow import litert

    return litert.answering(path.read_bytes())
