"""What a judging was made from, on disk: true boxes and detections of every picture, as arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import atomic_file
from falconer.vision.detection.judging.average_precision import Found, Truth


def write(target: Path, truths: Sequence[Truth], founds: Sequence[Found]) -> None:
    """Write an npz file, atomically. No picture is in it."""
    with atomic_file(target) as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            true_counts=np.array([len(one.boxes) for one in truths], np.int64),
            true_boxes=np.concatenate([one.boxes for one in truths]),
            true_labels=np.concatenate([one.labels for one in truths]),
            areas=np.concatenate([one.areas for one in truths]),
            crowd=np.concatenate([one.crowd for one in truths]),
            found_counts=np.array([len(one.boxes) for one in founds], np.int64),
            found_boxes=np.concatenate([one.boxes for one in founds]),
            found_labels=np.concatenate([one.labels for one in founds]),
            scores=np.concatenate([one.scores for one in founds]),
        )


def read(path: Path) -> tuple[list[Truth], list[Found]]:
    """What `write` wrote; `ArtifactError` where it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            true_ends = np.cumsum(arrays["true_counts"])[:-1]
            found_ends = np.cumsum(arrays["found_counts"])[:-1]
            truths = [
                Truth(*parts)
                for parts in zip(
                    *(
                        np.split(arrays[name], true_ends)
                        for name in ("true_boxes", "true_labels", "areas", "crowd")
                    ),
                    strict=True,
                )
            ]
            founds = [
                Found(*parts)
                for parts in zip(
                    *(
                        np.split(arrays[name], found_ends)
                        for name in ("found_boxes", "found_labels", "scores")
                    ),
                    strict=True,
                )
            ]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path}: absent or damaged ({error}); judge the run anew with "
            "`falconer vision detector evaluate`"
        ) from error
    return truths, founds
