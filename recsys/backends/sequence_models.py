"""What the sequence models share: the task that trains them, and the scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pipelines.data.dataset import Dataset
from pipelines.data.queries import Queries, Ragged
from pipelines.errors import ArtifactError, DataError
from pipelines.runs import Run
from pipelines.training.devices import device_of
from pipelines.training.task import Task
from pipelines.training.torch import fit
from recsys.backends.losses import full_softmax, gbce, sampled_softmax
from recsys.backends.sequences import (
    Ask,
    Negatives,
    RowBatches,
    SequenceBatch,
    SequenceBatches,
    cut,
    user_sequences,
)
from recsys.backends.torch import NegativeSampler, SeenItems, TrainEvents, item_counts
from recsys.backends.transformer import Encoder
from recsys.models.arrays import known_items
from recsys.models.sequences import SequenceConfig
from recsys.validation import Validation

FILE = "model.safetensors"
QUERIES_AT_ONCE = 16
SHORTEST = 16
"""Histories are filled up to so many places, or twice, four times ... as many, whatever is asked beside them."""


class SequenceModel(nn.Module):
    """An encoder and the items' vectors, which are both its input and what its output is compared with.

    With `mask`, a token of its own, the next item is asked for by a mask behind the history; without, by the last item.
    """

    def __init__(self, n_items: int, config: SequenceConfig, *, mask: int | None) -> None:
        super().__init__()
        self.n_items, self.max_length, self.mask = n_items, config.max_length, mask
        self.encoder = Encoder(
            n_items if mask is None else mask + 1,
            dim=config.dim,
            max_length=config.max_length,
            n_blocks=config.n_blocks,
            n_heads=config.n_heads,
            feed_forward=config.feed_forward,
            activation=config.activation,
            dropout=config.dropout,
            causal=mask is None,
        )

    def forward(self, items: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """Items int64[B, L] (0 behind a row's end), lengths int64[B], places int64[T] of the B * L -> [T, d]."""
        hidden: Tensor = self.encoder(items, lengths, places)
        return hidden

    @property
    def item_bias(self) -> Tensor | None:
        """[n_items], where the model has one."""
        return None

    def item_vectors(self) -> Tensor:
        """[n_items, d]."""
        return self.encoder.items.weight[: self.n_items]


Loss = Callable[[Tensor, Tensor, SequenceBatch, Tensor | None], Tensor]
"""hidden [T, d], items' vectors [n, d], the batch, items' bias [n] -> the mean over the T places."""


def loss_of(config: SequenceConfig, counts: NDArray[np.int64], device: torch.device) -> Loss:
    """The loss that the configuration names; `counts` int64[n_items] are the items' train events."""
    if config.loss == "softmax":
        return lambda hidden, items, batch, bias: full_softmax(hidden, items, batch.answers, bias)
    if config.loss == "sampled_softmax":
        weights = counts.astype(np.float64) ** config.negative_alpha
        with np.errstate(divide="ignore"):
            log_chance = torch.tensor(np.log(weights / weights.sum()), dtype=torch.float32, device=device)
        return lambda hidden, items, batch, bias: sampled_softmax(
            hidden, items, batch.answers, _drawn(batch), log_chance, bias
        )
    calibration = config.calibration if config.loss == "gbce" else 0.0
    return lambda hidden, items, batch, bias: gbce(
        hidden, items, batch.answers, _drawn(batch), calibration=calibration, bias=bias
    )


def _drawn(batch: SequenceBatch) -> Tensor:
    assert batch.negatives is not None
    return batch.negatives


class SequenceTask(Task[SequenceBatch]):
    """What the training loop needs."""

    model: SequenceModel

    def __init__(
        self,
        model: SequenceModel,
        batches: SequenceBatches,
        loss: Loss,
        validation: Validation,
        popularity: NDArray[np.float32],
    ) -> None:
        self.model, self._batches, self._loss = model, batches, loss
        self._validation, self._popularity = validation, popularity

    @property
    def batches(self) -> SequenceBatches:
        """Rows of users' sequences, with the places where the model is asked."""
        return self._batches

    def loss(self, batch: SequenceBatch) -> Tensor:
        """The mean over the places; nothing is computed for others that no place needs."""
        hidden = self.model(batch.items, batch.lengths, batch.places)
        return self._loss(hidden, self.model.item_vectors(), batch, self.model.item_bias)

    def size(self, batch: SequenceBatch) -> int:
        """Places where the model is asked."""
        return len(batch.places)

    def validate(self) -> Mapping[str, float]:
        """Hit rate and NDCG on the validation fold."""
        return self._validation(SequenceScorer(self.model, self._popularity, self.model.n_items))


class SequenceScorer:
    """Scores a query by its history; one without a known item by the items' popularity in train.

    A query's vector is [hidden, 1, 0], or [0, 0, 1] without a known item; an item's is [vector, bias, popularity].
    """

    def __init__(self, model: SequenceModel, popularity: NDArray[np.float32], n_items: int) -> None:
        self._model, self._popularity = model, popularity
        self._device = model.encoder.items.weight.device
        self.items_known = known_items(model.n_items, n_items)

    def factors(self, queries: Queries) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Query factors float32[Q, d + 2], item factors float32[n_items, d + 2], item bias float32[n_items].

        The bias is 0 for known items and -inf for all others. The query factors are the same to the bit in any batch.
        """
        bias = np.where(self.items_known, np.float32(0), np.float32(-np.inf))
        return self._query_factors(queries), np.pad(self._items, [(0, len(bias) - len(self._items)), (0, 0)]), bias

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; the items' train events where a history has no known item."""
        scores = np.full((len(queries), len(self.items_known)), -np.inf, dtype=np.float32)
        vectors = self._query_factors(queries)
        # One product a query, always of the same shape: the BLAS rounds products of other shapes otherwise.
        with threadpool_limits(1, "blas"):
            for row, vector in zip(scores, vectors, strict=True):
                row[: len(self._items)] = self._items @ vector
        return scores

    def save(self, directory: Path) -> None:
        """Write `model.safetensors`: the weights and the items' popularity."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self._model.state_dict().items()}
        save_file(weights | {"popularity": torch.tensor(self._popularity)}, directory / FILE)

    @cached_property
    def _items(self) -> NDArray[np.float32]:
        vectors, bias = self._model.item_vectors().detach().cpu(), self._model.item_bias
        bias = torch.zeros(len(vectors)) if bias is None else bias.detach().cpu()
        return torch.cat([vectors, bias[:, None], torch.tensor(self._popularity)[:, None]], dim=1).numpy()

    def _query_factors(self, queries: Queries) -> NDArray[np.float32]:
        histories = newest_known(queries.history, self._model.n_items, self._room)
        factors = np.zeros((len(queries), self._items.shape[1]), dtype=np.float32)
        factors[:, -2], factors[:, -1] = histories.lengths > 0, histories.lengths == 0
        sizes = self._sizes(histories.lengths)
        for size in np.unique(sizes[sizes > 0]):
            same = np.flatnonzero(sizes == size)
            for start in range(0, len(same), QUERIES_AT_ONCE):
                rows = same[start : start + QUERIES_AT_ONCE]
                factors[rows, :-2] = self._encoded(histories.take(rows), int(size))
        return factors

    @property
    def _room(self) -> int:
        """Items of a history that fit beside the mask."""
        return self._model.max_length - (self._model.mask is not None)

    def _sizes(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places that each history is filled up to, with the mask; 0 for none."""
        places = np.maximum(lengths + self._model.max_length - self._room, SHORTEST)
        filled = np.minimum(2 ** np.ceil(np.log2(places)).astype(np.int64), self._model.max_length)
        return np.where(lengths > 0, filled, 0)

    @torch.inference_mode()
    def _encoded(self, histories: Ragged, size: int) -> NDArray[np.float32]:
        """float32[Q, d] of Q histories, in a computation whose shape depends on `size` alone."""
        items = np.zeros((QUERIES_AT_ONCE, size), np.int64)
        place = np.arange(len(histories.values)) - histories.offsets[histories.rows]
        items[histories.rows, place] = histories.values
        lengths = np.ones(QUERIES_AT_ONCE, np.int64)
        lengths[: len(histories)] = histories.lengths
        if self._model.mask is not None:
            items[np.arange(QUERIES_AT_ONCE), lengths] = self._model.mask
            lengths += 1
        places = np.arange(QUERIES_AT_ONCE) * size + lengths - 1
        hidden = self._model(*(torch.tensor(part, device=self._device) for part in (items, lengths, places)))
        encoded: NDArray[np.float32] = hidden[: len(histories)].float().cpu().numpy()
        return encoded


def newest_known(history: Ragged, n_known: int, n: int) -> Ragged:
    """The newest `n` items below `n_known` of each row, or as many as there are."""
    rows, known = history.rows, history.values.astype(np.int64) < n_known
    lengths = np.bincount(rows[known], minlength=len(history))
    ends = np.cumsum(lengths)
    kept = np.arange(known.sum()) >= (ends - n)[rows[known]]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(lengths, n))])
    return Ragged(offsets, history.values[known][kept])


def train_sequences(
    make: Callable[[int], SequenceModel], ask: Ask, *, config: SequenceConfig, data: Dataset, run: Run
) -> SequenceScorer:
    """Fit `make(n_items)` to answer what `ask` asks; the epoch is chosen on the validation fold.

    Without queries to validate on, the last weights count. Raises `DataError` where the dataset has no times though
    the order is to be theirs, or where there is too little to train on, and what `fit` raises.
    """
    if config.order == "time" and not data.card.has_time:
        raise DataError(
            f"{data.path}: the dataset has no times, and this model needs the order of events; where the source is "
            'written in order, set model.order = "source", otherwise name the column of times in the ETL recipe'
        )
    model = initial(lambda: make(data.n_items), config.seed).to(device_of(config.training))
    counts = item_counts(TrainEvents(data), data.n_items)
    validation = Validation(data, n_queries=config.valid_queries, seed=config.seed)
    task = task_of(model, ask, counts, config=config, data=data, validation=validation)
    knobs = {"seed": config.seed} | ({} if validation.n_queries else {"monitor": None, "patience": None})
    fit(task, config.training.model_copy(update=knobs), run)
    return SequenceScorer(model, counts.astype(np.float32), data.n_items)


def initial(make: Callable[[], SequenceModel], seed: int) -> SequenceModel:
    """A model with random weights that follow from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def task_of(
    model: SequenceModel,
    ask: Ask,
    counts: NDArray[np.int64],
    *,
    config: SequenceConfig,
    data: Dataset,
    validation: Validation,
) -> SequenceTask:
    """The model with its batches, its loss and its validation; `counts` int64[n_items] are the items' train events."""
    device = device_of(config.training)
    overlap = int(model.mask is None)  # without a mask the first item of a row is only asked from, never for
    sequences = user_sequences(TrainEvents(data), data.n_users)
    rows = cut(sequences, size=config.max_length + overlap, overlap=overlap, whole=config.history == "whole")
    batches = SequenceBatches(
        RowBatches(rows, batch_size=config.batch_size, seed=config.seed, device=device),
        ask,
        seed=config.seed,
        negatives=_negatives(config, counts, data, device),
    )
    return SequenceTask(model, batches, loss_of(config, counts, device), validation, counts.astype(np.float32))


def _negatives(
    config: SequenceConfig, counts: NDArray[np.int64], data: Dataset, device: torch.device
) -> Negatives | None:
    if config.loss == "softmax":
        return None
    alpha = config.negative_alpha
    if config.loss != "bce":
        return Negatives(NegativeSampler(counts, alpha=alpha, seen=None, device=device), config.n_negatives)
    seen = SeenItems(TrainEvents(data), n_users=data.n_users, n_items=data.n_items, device=device)
    return Negatives(NegativeSampler(counts, alpha=alpha, seen=seen, device=device), None)


def load_sequences(
    make: Callable[[int], SequenceModel], *, directory: Path, config: SequenceConfig, data: Dataset
) -> SequenceScorer:
    """Read `model.safetensors` into `make(n_items)`; `ArtifactError` where it is missing or damaged."""
    path = directory / FILE
    try:
        weights = load_file(path)
        popularity = weights.pop("popularity").numpy()
        model = make(len(popularity))
        model.load_state_dict(weights)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{path}: missing or damaged ({error}); train the model anew") from error
    return SequenceScorer(model.to(device_of(config.training)).eval(), popularity, data.n_items)
