"""VAE-CF on torch (Liang et al. 2018, "Variational autoencoders for collaborative filtering").

x_u marks the distinct train items of user u. The encoder takes x_u / |x_u|, items of which are
dropped in training:

    Mult-VAE   z ~ N(mean, diag exp(log_variance)), both from the encoder; when scoring, z is the
               mean
    Mult-DAE   z = tanh of the encoder's last layer
    logits     W h + b, with h the decoder's last hidden layer; the score of an item is its logit
    loss       -sum over i of x_ui log softmax(logits)_i + beta KL(q(z | x_u) || N(0, I))
               (equation 6, negated)
    beta       min(anneal_cap, batch / anneal_steps), as in the authors' code; 0 for Mult-DAE
               (section 2.2.2)

and the mean over the users of a batch. All layers but the last of encoder and decoder have tanh.
The first layer is a sum of rows, one a history item, so neither users nor histories ever stand in a
dense matrix. With `training.weight_decay` the weights are penalised and the biases are not.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.runs import Run
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Fit, Task
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.numpy.arrays import known_items
from falconer.recsys.backends.numpy.factors import (
    all_items,
    or_popularity,
    scores_of,
    with_popularity,
)
from falconer.recsys.backends.numpy.histories import recency_weights
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.events import TrainEvents, item_counts
from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.backends.torch.item_sets.batches import (
    ProfileBatch,
    ProfileBatches,
    train_profiles,
)
from falconer.recsys.backends.torch.item_sets.likelihood import negative_log_likelihood
from falconer.recsys.judging.lists.validation import Validation
from falconer.recsys.models.vae_cf.config import VaeCfConfig

BIAS_STD = 0.001
BY_ITEM = ("input", "output.weight", "output.bias")
"""The tensors with a row for each item."""
QUERIES_AT_ONCE = 64
"""Histories in one pass through the layers: always so many, since another shape may round
differently."""


class VaeCf(nn.Module):
    """Mult-VAE or Mult-DAE: from histories to logits over the whole catalogue."""

    def __init__(self, n_items: int, config: VaeCfConfig) -> None:
        super().__init__()
        self.n_items, self.variational = n_items, config.variant == "vae"
        encoder = [*config.hidden, 2 * config.dim if self.variational else config.dim]
        decoder = [config.dim, *reversed(config.hidden)]
        self.input = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_items, encoder[0])))
        self.input_bias = nn.Parameter(_small(encoder[0]))
        self.encoder = nn.ModuleList(_linear(a, b) for a, b in pairwise(encoder))
        self.decoder = nn.ModuleList(_linear(a, b) for a, b in pairwise(decoder))
        self.output = _linear(decoder[-1], n_items)

    def forward(self, items: Tensor, offsets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Histories of B users, see `first_layer` -> logits [B, n_items] and KL(q(z | x) || N(0,
        I)) float32[B]."""
        mean, log_variance = self.encoded(self.first_layer(items, offsets, weights))
        if log_variance is None:
            return self.output(self.decoded(mean)), mean.new_zeros(len(mean))
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        divergence = 0.5 * (log_variance.exp() + mean.square() - log_variance - 1).sum(1)
        return self.output(self.decoded(z)), divergence

    def first_layer(self, items: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """[B, h_1] before its tanh: the sum of weight x row over the items int[N] between offsets
        int[B + 1]."""
        products = functional.embedding_bag(
            items,
            self.input,
            offsets,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
        return products + self.input_bias

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """From the first layer [B, h_1] to the mean [B, latent] and, of a VAE, the log of the
        variance beside it."""
        for layer in self.encoder:
            x = layer(torch.tanh(x))
        if not self.variational:
            return torch.tanh(x), None
        mean, log_variance = x.float().chunk(2, dim=1)
        return mean, log_variance

    def decoded(self, z: Tensor) -> Tensor:
        """z [B, latent] -> the decoder's last hidden layer [B, h]."""
        for layer in self.decoder:
            z = torch.tanh(layer(z))
        return z


def _linear(n_in: int, n_out: int) -> nn.Linear:
    """The authors' initial weights: Glorot's for the matrix, a small normal cut at two deviations
    for the bias."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(_small(n_out))
    return layer


def _small(n: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(n), std=BIAS_STD, a=-2 * BIAS_STD, b=2 * BIAS_STD)


class VaeCfTask(Task[ProfileBatch]):
    """What the training loop needs; `popularity` float32[n_items] answers queries without a known
    history item."""

    def __init__(
        self,
        model: VaeCf,
        batches: ProfileBatches,
        validation: Validation,
        popularity: NDArray[np.float32],
        config: VaeCfConfig,
    ) -> None:
        self.model: VaeCf = model
        self._batches, self._validation, self._popularity, self._config = (
            batches,
            validation,
            popularity,
            config,
        )

    @property
    def batches(self) -> ProfileBatches:
        """Users with their distinct train items."""
        return self._batches

    def loss(self, batch: ProfileBatch) -> Tensor:
        """Equation 6, negated: the mean over the batch's users, each with all of the items as the
        target."""
        profiles = batch.profiles
        weights = profiles.lengths.rsqrt()[profiles.rows]
        if self._config.dropout:
            kept = torch.rand_like(weights) >= self._config.dropout
            weights = weights[kept] / (1 - self._config.dropout)
            left = profiles.only(kept)
        else:
            left = profiles
        logits, divergence = self.model(left.items.long(), left.offsets, weights)
        losses: Tensor = (
            negative_log_likelihood(logits, profiles) + self._config.beta(batch.number) * divergence
        )
        return losses.mean()

    def size(self, batch: ProfileBatch) -> int:
        """Users."""
        return len(batch.profiles)

    def validate(self) -> Mapping[str, float]:
        """Metrics on the validation fold."""
        return self._validation(
            VaeCfScorer(self.model, self._popularity, self._config.decay, len(self._popularity))
        )

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """Matrices, which `weight_decay` is for, and biases, which it is not for."""
        parameters = list(self.model.parameters())
        return [
            {"params": [parameter for parameter in parameters if parameter.dim() > 1]},
            {
                "params": [parameter for parameter in parameters if parameter.dim() == 1],
                "weight_decay": 0.0,
            },
        ]


class VaeCfScorer:
    """Scores a query by the logits of its history: a product, with the decoder's last hidden layer
    as the query's factors. A query without an item that the model knows gets the items' train
    events, `popularity`."""

    def __init__(
        self, model: VaeCf, popularity: NDArray[np.float32], decay: float, n_items: int
    ) -> None:
        self._model, self._popularity, self._decay = model, popularity, decay
        self._device = model.input.device
        self.items_known = known_items(model.n_items, n_items)
        output = np.column_stack([_array(model.output.weight), _array(model.output.bias)])
        self._items = with_popularity(output, popularity)

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Query factors float32[Q, d], item factors float32[n_items, d], item bias
        float32[n_items].

        The bias is 0 for known items and -inf for all others; the model's own is one of the
        factors.
        """
        bias = np.where(self.items_known, np.float32(0), np.float32(-np.inf))
        return self._query_factors(queries), all_items(self._items, len(bias)), bias

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]: before the softmax."""
        return scores_of(self._query_factors(queries), self._items, len(self.items_known))

    def graphs(self) -> dict[Form, Graph]:
        """Scores of the catalogue by history."""
        return {
            "catalogue": Graph(VaeCfGraph(self._model, self._popularity, self._decay), ("history",))
        }

    def save(self, directory: Path) -> None:
        """Write `model.safetensors`: the weights and the items' popularity."""
        weights.save(directory, self._model, popularity=torch.tensor(self._popularity))

    @torch.inference_mode()
    def _query_factors(self, queries: Queries) -> NDArray[np.float32]:
        """[Q, h + 2]: the last hidden layer, 1 for the items' bias, 0; without a known item 0, ...,
        0, 1."""
        history = recency_weights(queries, self._model.n_items, decay=self._decay)
        lengths, squares = np.diff(history.indptr), history.power(2).sum(axis=1)
        history.data /= np.sqrt(np.repeat(squares, lengths))
        starts = range(0, len(queries), QUERIES_AT_ONCE)
        empty = np.empty((0, self._model.output.in_features), np.float32)
        hidden = np.concatenate(
            [empty, *(self._hidden(history[start : start + QUERIES_AT_ONCE]) for start in starts)]
        )
        return or_popularity(
            np.column_stack([hidden, np.ones(len(hidden), np.float32)]), lengths > 0
        )

    def _hidden(self, history: Any) -> NDArray[np.float32]:
        """float32[Q, h] of up to `QUERIES_AT_ONCE` histories csr[Q, n_items], filled up with empty
        ones."""
        offsets = np.full(QUERIES_AT_ONCE + 1, history.indptr[-1], np.int64)
        offsets[: len(history.indptr)] = history.indptr
        parts = (history.indices.astype(np.int64), offsets, history.data)
        x = self._model.first_layer(*(torch.tensor(part, device=self._device) for part in parts))
        mean, _ = self._model.encoded(x)
        return _array(self._model.decoded(mean))[: history.shape[0]]


class VaeCfGraph(nn.Module):
    """What `VaeCfScorer` answers, as a module of arrays; here histories do become rows of a dense
    table."""

    popularity: Tensor

    def __init__(self, model: VaeCf, popularity: NDArray[np.float32], decay: float) -> None:
        super().__init__()
        self.model, self.decay = copy.deepcopy(model).cpu().eval(), decay
        self.register_buffer("popularity", torch.tensor(popularity))

    def forward(self, history: Tensor) -> Tensor:
        """History int64 [N, L], oldest first and then -1 -> [N, n_items]."""
        known = (history >= 0).any(1)
        x = self.weights(history)
        x = x / x.square().sum(1, keepdim=True).sqrt().clamp(min=torch.finfo(x.dtype).tiny)
        mean, _ = self.model.encoded(x @ self.model.input + self.model.input_bias)
        return torch.where(
            known[:, None], self.model.output(self.model.decoded(mean)), self.popularity
        )

    def weights(self, history: Tensor) -> Tensor:
        """[N, n_items]: decay^position of each distinct item, by its last occurrence; what is no
        item is put into a column behind the last one."""
        n_items = self.model.n_items
        items = torch.where(history >= 0, history, n_items)
        last = _last_occurrences(items) * (history >= 0)
        position = last.sum(1, keepdim=True) - last.cumsum(1)
        weights = last * torch.pow(self.decay, position.float())
        table = torch.zeros_like(weights[:, :1]).expand(-1, n_items + 1)
        return table.scatter_add(1, items, weights)[:, :n_items]


def _last_occurrences(items: Tensor) -> Tensor:
    """int64 [N, L] of items [N, L], none negative: 1 where the item is not there again further on
    in the row."""
    places = torch.zeros_like(items) + torch.arange(items.shape[1])
    pairs = (items * items.shape[1] + places).sort(1, descending=True).values
    item, place = pairs // items.shape[1], pairs % items.shape[1]
    first_of_item = torch.cat(
        [torch.ones_like(item[:, :1]), (item[:, 1:] != item[:, :-1]).long()], 1
    )
    return torch.zeros_like(items).scatter_add(1, place, first_of_item)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array


def train(config: VaeCfConfig, data: Dataset, run: Run, *, fit: Fit = fit) -> VaeCfScorer:
    """Fit the model; the epoch is chosen on the validation fold, and without queries there the last
    one counts.

    Raises `DataError` where there are too few users, and what `fit` raises.
    """
    device = device_of(config.training)
    events = TrainEvents(data)
    popularity = item_counts(events, data.n_items).astype(np.float32)
    profiles = train_profiles(events, n_users=data.n_users, n_items=data.n_items, device=device)
    batches = ProfileBatches(profiles, batch_size=config.batch_size, seed=config.seed)
    validation = Validation(
        data, n_queries=config.valid_queries, seed=config.seed, k=config.valid_k
    )
    model = weights.seeded(lambda: VaeCf(data.n_items, config), config.seed)
    weights.start(model, run, BY_ITEM)
    model.to(device)
    knobs = {"seed": config.seed} | (
        {} if validation.n_queries else {"monitor": None, "patience": None}
    )
    task = VaeCfTask(model, batches, validation, popularity, config)
    fit(task, config.training.model_copy(update=knobs), run)
    return VaeCfScorer(model, popularity, config.decay, data.n_items)


def load(directory: Path, config: VaeCfConfig, data: Dataset) -> VaeCfScorer:
    """Read `model.safetensors`."""
    model, popularity = weights.load_for_lists(directory, lambda _, n_items: VaeCf(n_items, config))
    return VaeCfScorer(
        model.to(device_of(config.training)).eval(), popularity.numpy(), config.decay, data.n_items
    )
