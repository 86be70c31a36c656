"""A dataset whose validation events are train events too: for fitting a chosen model anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.data.schema import VALID_EVENTS, DatasetCard, Fold
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import scratch_folder

TRAIN = "train-and-valid.parquet"


class RefitDataset(Dataset):
    """A dataset without a fold `valid`, whose events of that are in train; ids, categories and
    scales are as they were fitted on train alone. `test` is not looked at."""

    def __init__(self, path: Path, card: DatasetCard, train: Path) -> None:
        super().__init__(path, card)
        self._file = train

    def has_fold(self, fold: Fold) -> bool:
        """There is no fold `valid` any more."""
        return fold != "valid" and super().has_fold(fold)

    def _train_names(self) -> list[str]:
        return [TRAIN]

    def _checked(self, name: str) -> Path:
        return self._file if name == TRAIN else super()._checked(name)


@contextmanager
def with_validation(data: Dataset) -> Iterator[RefitDataset]:
    """The dataset with train and validation as train, in order of time (of the place in the source
    where there are no times), for as long as the block lasts.

    Raises `ArtifactError` where the dataset holds no validation events of known users and items.
    """
    if not data.has_table(VALID_EVENTS):
        raise ArtifactError(
            f"{data.path}: holds no validation events of users and items that train knows, so "
            "there is nothing to fit anew on (no fold valid, one of held-out users, or a dataset "
            "of an earlier release: rebuild that with `falconer etl`)"
        )
    valid = data.table(VALID_EVENTS)
    both = pa.concat_tables([data.train, valid.select(data.train.column_names)])
    clock = both.column("time" if data.card.has_time else "ordinal").to_numpy()
    with scratch_folder() as folder:
        write_table(folder, TRAIN, both.take(np.argsort(clock, kind="stable")))
        yield RefitDataset(data.path, data.card, folder / TRAIN)


def keep_both(data: Dataset, run: Path) -> None:
    """Note in the folder of a run that it is trained on train and validation, where the dataset
    says what these hold."""
    names = [overlap.part_file(part) for part in ("train", "valid")]
    if all(map(data.has_table, names)):
        hashes = [data.table(name)["hash"].to_numpy() for name in names]
        overlap.write(run, overlap.TRAIN_EVENTS, np.concatenate(hashes))
