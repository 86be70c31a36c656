"""What the networks of pairs share in TensorFlow: encoded inputs, tables of several fields, and the
loss. The twins are in `falconer.recsys.backends.torch.pairs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from falconer.recsys.backends.tensorflow.merlin import Mlp, Table
from falconer.recsys.backends.tensorflow.network import Arrays, Noise, Tensors, Weight
from falconer.recsys.backends.tensorflow.precision import lowered, raised
from falconer.recsys.backends.torch.pairs.batches import FieldBatch
from falconer.recsys.backends.torch.pairs.network import SplitMlp, TwoSided
from falconer.recsys.backends.torch.pairs.tables import MixedTables, Tables
from falconer.recsys.backends.torch.pairs.training import FieldTask
from falconer.recsys.configs.pairs import PairsConfig


@dataclass(frozen=True)
class Inputs:
    """Ids int32[N, F] of categorical fields (-1 = unknown) and numbers float32[N, C], of one side
    of N pairs."""

    ids: Any
    numbers: Any


class InputTable(Protocol):
    """Encoded inputs of all users or items, row 0 of an unknown one, as torch tensors."""

    @property
    def ids(self) -> Any:
        """[n + 1, F]."""

    @property
    def numbers(self) -> Any:
        """[n + 1, C]."""


class FieldTables:
    """The vectors of several fields; twin of `Tables` and `MixedTables`."""

    def __init__(self, prefix: str, twin: Any) -> None:
        self._head: Table | None = None
        self._lengths, self.dim = twin.lengths, twin.dim
        if isinstance(twin, MixedTables):
            self._rare = (FieldTables(f"{prefix}.head", twin.head), twin.heads.tolist())
            self._tail = FieldTables(f"{prefix}.tail", twin.tail)
            self._lengthen = tf.Variable(tf.zeros(list(twin.lengthen.shape)))
            self.weights: dict[str, Weight] = {
                **self._rare[0].weights,
                **self._tail.weights,
                f"{prefix}.lengthen": Weight(self._lengthen),
            }
        else:
            assert isinstance(twin, Tables)
            self._first = tf.constant(twin.first.cpu().numpy(), tf.int64)
            self._head = Table(f"{prefix}.weight", len(twin.weight), twin.dim)
            self.weights = self._head.weights

    def __call__(self, ids: Any) -> Any:
        """Ids [N, F] -> [N, T, dim]."""
        ids = tf.cast(ids, tf.int64)
        return _pooled(self.vectors(ids), ids, self._lengths)

    def vectors(self, ids: Any) -> Any:
        """Ids int64[N, F] -> [N, F, dim]."""
        found = self._mixed(ids) if self._head is None else self._head(ids + self._first)
        return tf.ensure_shape(found, [None, sum(self._lengths), self.dim])

    def _mixed(self, ids: Any) -> Any:
        head, heads = self._rare
        rare = ids >= tf.constant(heads, tf.int64)
        short = self._tail.vectors(tf.where(rare, ids - tf.constant(heads, tf.int64), -1))
        lengthen = tf.repeat(self._lengthen, self._lengths, 0)
        lengthened = raised(tf.einsum("nfe,fed->nfd", lowered(short), lowered(lengthen)))
        return tf.where(rare[..., None], lengthened, head.vectors(tf.where(rare, -1, ids)))


def _pooled(vectors: Any, ids: Any, lengths: Sequence[int]) -> Any:
    """Twin of `tables.pooled`."""
    if sum(lengths) == len(lengths):
        return vectors
    known = tf.cast(ids >= 0, vectors.dtype)[..., None]
    parts = zip(tf.split(vectors, lengths, 1), tf.split(known, lengths, 1), strict=True)
    found = []
    for places, own in parts:
        n = tf.reduce_sum(own, 1, keepdims=True)
        mean = tf.reduce_sum(places * own, 1, keepdims=True) / tf.maximum(n, 1)
        found.append(tf.where(n > 0, mean, places[:, :1]))
    return tf.concat(found, 1)


def split_mlp(prefix: str, twin: SplitMlp) -> Mlp:
    """The twin of a `SplitMlp`, whose parts it takes side by side; the output is one of its
    layers."""
    names = ["first", *(f"hidden.{place}" for place in range(len(twin.hidden))), "out"]
    layers = [twin.first, *twin.hidden, twin.out]
    widths = [layer.out_features for layer in layers]
    return Mlp(
        [f"{prefix}.{name}" for name in names],
        twin.first.in_features,
        widths,
        linear_end=True,
        share_dropped=twin.dropout.p,
    )


class PairNetwork:
    """Base of the networks of a `TwoSided` module; they say how N pairs are scored."""

    weights: Mapping[str, Weight]

    def __init__(self, twin: TwoSided, items: InputTable, config: PairsConfig) -> None:
        """`items` is the table that pairs name their items by: row 0 is the unknown one."""
        self._target, self._smoothing = twin.fields.target, config.label_smoothing
        self._item_ids = tf.constant(items.ids.cpu().numpy())
        self._item_numbers = tf.constant(items.numbers.cpu().numpy())
        query = twin.query_fields
        self._n_ids, self._n_numbers = len(query.categorical), len(query.numeric)

    @classmethod
    def of(cls, task: FieldTask, config: Any) -> PairNetwork:
        """The twin of a task's model."""
        return cls(task.model, task.encoder.items, config)

    def arrays(self, batch: FieldBatch) -> Arrays:
        """Queries' inputs [B, ...], rows [B, K] of the table of items, labels [B, K]."""
        return {
            "ids": batch.query.ids.cpu().numpy(),
            "numbers": batch.query.numbers.cpu().numpy(),
            "items": batch.items.cpu().numpy(),
            "labels": batch.labels.cpu().numpy(),
        }

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """As `falconer.recsys.backends.torch.pairs.network.loss_of`."""
        scores, labels = self.scores(batch, noise), tf.reshape(batch["labels"], [-1])
        if self._target == "rating":
            return tf.reduce_mean(tf.square(scores - labels))
        return cross_entropy(scores, labels, self._smoothing)

    def scores(self, batch: Tensors, noise: Noise | None) -> Any:
        """[B K]: of all pairs of the batch."""
        rows = tf.reshape(batch["items"], [-1])
        times = tf.shape(batch["items"])[1]
        query = Inputs(
            tf.ensure_shape(tf.repeat(batch["ids"], times, 0), [None, self._n_ids]),
            tf.ensure_shape(tf.repeat(batch["numbers"], times, 0), [None, self._n_numbers]),
        )
        items = Inputs(tf.gather(self._item_ids, rows), tf.gather(self._item_numbers, rows))
        return self.of_pairs(query, items, noise)

    def of_pairs(self, query: Inputs, items: Inputs, noise: Noise | None) -> Any:
        """Inputs of N pairs -> their scores [N]."""
        raise NotImplementedError


def cross_entropy(scores: Any, labels: Any, smoothing: float) -> Any:
    """The mean cross-entropy of the scores' sigmoid, with labels moved towards 1/2."""
    labels = labels * (1 - smoothing) + smoothing / 2
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, scores))
