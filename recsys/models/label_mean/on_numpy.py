"""Label mean on numpy."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs
from falconer.pipelines.data.schema import column_of, name_of
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import load_arrays, save_arrays
from falconer.recsys.models.label_mean.config import LabelMeanConfig

Int32 = NDArray[np.int32]


class LabelMeanScorer:
    """Scores a row with the mean label of its kind."""

    def __init__(self, means: NDArray[np.float32], overall: np.float32, kinds: _Kinds) -> None:
        self._means, self._overall, self._kinds = means, overall, kinds

    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]: the kind's mean; that of all rows where the kind is unknown, or came after
        training."""
        kind = self._kinds.of_pairs(pairs)
        known = (kind >= 0) & (kind < len(self._means))
        scores: NDArray[np.float32] = np.full(len(kind), self._overall, np.float32)
        scores[known] = self._means[kind[known]]
        return scores

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`."""
        lineage = np.array(self._kinds.lineage, dtype=np.str_)
        save_arrays(
            directory,
            means=self._means,
            overall=np.array([self._overall], np.float32),
            lineage=lineage,
        )


OURS = ("none", "item", "user")
"""What `model.by` calls no mean of kinds, and the ids; a feature of such a name is called by its
column."""


class _Kinds:
    """The kind that each row is of, int32: an id or a category, -1 = unknown; always -1 where there
    is one mean."""

    def __init__(self, by: str, data: Dataset) -> None:
        self._by, self._data = by, data
        features = {
            feature.column if feature.name in OURS else feature.name: feature
            for feature in data.card.features
            if feature.kind == "categorical"
        }
        sizes = {"none": 0, "item": data.n_items, "user": data.n_users}
        sizes |= {name: feature.cardinality or 0 for name, feature in features.items()}
        if by not in sizes or (by in ("item", "user") and not sizes[by]):
            known = [name for name, size in sizes.items() if size or name == "none"]
            near = difflib.get_close_matches(by, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(
                f"{data.path}: has no {by!r} to take for model.by; {hint}there are "
                f"{', '.join(known)}"
            )
        self.n = sizes[by]
        self._table = features[by].table if by in features else None
        self.lineage = features[by].lineage if by in features else ()

    def refuse_other(self, lineage: tuple[str, ...]) -> None:
        """Raise `ArtifactError` where the categories do not continue those of `lineage`."""
        if self.lineage[: len(lineage)] != lineage:
            raise ArtifactError(
                f"{self._data.path}: feature {self._by} is encoded otherwise than the one that the "
                "model was trained "
                "with; build the dataset with `extends` set to the model's own dataset, or train "
                "the model on this one"
            )

    def of_train(self) -> Int32:
        """int32[train rows]."""
        if self._by == "none":
            return np.full(self._data.train.num_rows, -1, np.int32)
        if self._table in ("user", "item"):
            return self._of_entity(self._data.train_column(self._table))
        return self._data.train_column(
            self._by if self._table is None else column_of(name_of(self._by))
        )

    def of_pairs(self, pairs: Pairs) -> Int32:
        """int32[P]."""
        if self._by == "none":
            return np.full(len(pairs), -1, np.int32)
        user = pairs.queries.user[pairs.query]
        if self._by in ("user", "item"):
            return user if self._by == "user" else pairs.item
        if self._table == "item":
            told = pairs.item_features.get(name_of(self._by))
            return self._of_entity(pairs.item) if told is None else told.astype(np.int32)
        return pairs.queries.features[name_of(self._by)][pairs.query].astype(np.int32)

    def _of_entity(self, ids: Int32) -> Int32:
        table = self._data.users if self._table == "user" else self._data.items
        column: Int32 = table.column(column_of(name_of(self._by))).to_numpy()
        return (
            np.where(ids >= 0, column[ids.clip(0)], np.int32(-1))
            if len(column)
            else np.full_like(ids, -1)
        )


def train(config: LabelMeanConfig, data: Dataset, run: Run) -> LabelMeanScorer:
    """Take the means. Raises `DataError` where the dataset has no such kind."""
    kinds, label = _Kinds(config.by, data), data.train_column("label").astype(np.float64)
    kind = kinds.of_train()
    known = kind >= 0
    rows = np.bincount(kind[known], minlength=kinds.n)
    sums = np.bincount(kind[known], weights=label[known], minlength=kinds.n)
    overall = label.mean()
    weight = rows + config.shrinkage
    means = np.divide(
        sums + config.shrinkage * overall, weight, out=np.full(kinds.n, overall), where=weight > 0
    )
    run.log_metrics(0, {"rows_of_a_kind": float(known.sum()), "mean_label": float(overall)})
    return LabelMeanScorer(means.astype(np.float32), np.float32(overall), kinds)


def load(directory: Path, config: LabelMeanConfig, data: Dataset) -> LabelMeanScorer:
    """Read `arrays.npz`; raises `ArtifactError` where `data` encodes the model's kinds
    otherwise."""
    arrays, kinds = load_arrays(directory, "means", "overall", "lineage"), _Kinds(config.by, data)
    kinds.refuse_other(tuple(arrays["lineage"].tolist()))
    return LabelMeanScorer(arrays["means"], arrays["overall"][0], kinds)
