"""NCF on torch (He et al. 2017, "Neural collaborative filtering").

With user vectors p, q and item vectors of GMF and of the MLP of their own, and a(x) = max(x, 0):

    GMF    phi = p_u * p_i                                                  (equation 8)
    MLP    phi = a_L(W_L ... a_1(W_1 [q_u; q_i] + b_1) ... + b_L)            (equation 10)
    score  = h_GMF . phi_GMF + h_MLP . phi_MLP + b                          (equations 9, 11 and 12, before the sigmoid)

The loss is the binary cross-entropy of train events against drawn negatives (equation 7), its mean over all pairs.
As in the authors' code the output has a bias b. Their L2 penalty on the vectors is `embedding_l2`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from pipelines.data.dataset import Dataset
from pipelines.data.queries import Queries
from pipelines.errors import ArtifactError
from pipelines.runs import Run
from pipelines.training.devices import device_of
from pipelines.training.task import Task
from pipelines.training.torch import fit
from recsys.api import Pairs
from recsys.backends.graphs import Form, Graph
from recsys.backends.torch import (
    EventBatches,
    LabelledItems,
    NegativeSampler,
    SeenItems,
    TrainEvents,
    WithNegatives,
    catalogue_scores,
    item_counts,
    rows_of,
)
from recsys.models.arrays import known_items
from recsys.models.ncf.config import NcfConfig, NcfTraining
from recsys.validation import Validation

FILE = "model.safetensors"
EMBEDDING_STD = 0.01
PAIRS_AT_ONCE = 2**16


class Gmf(nn.Module):
    """Generalised matrix factorisation: what it adds to the score."""

    def __init__(self, n_users: int, n_items: int, config: NcfConfig) -> None:
        super().__init__()
        self.user = _embedding(n_users, config.factors)
        self.item = _embedding(n_items, config.factors)
        self.out = nn.Parameter(_uniform(config.factors, fan_in=config.factors))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [B], items [B, K] -> [B, K]: h . (p_u * p_i) = (h * p_u) . p_i."""
        user = rows_of(self.user.weight, users) * self.out  # [B, d]
        return (rows_of(self.item.weight, items) * user[:, None]).sum(-1)  # [B, K, d] -> [B, K]

    def item_side(self) -> Tensor:
        """What the catalogue's scores need of all items: [n_items, d]."""
        return self.item.weight

    def of_catalogue(self, user: Tensor, item_side: Tensor) -> Tensor:
        """One user (an id [1]) against rows [I, d] of `item_side` -> [I]."""
        return torch.mv(item_side, self.user(user)[0] * self.out)


class Mlp(nn.Module):
    """The multi-layer perceptron: what it adds to the score.

    W_1 is held in its two halves, W_1 [q_u; q_i] = U q_u + V q_i: a user's half is computed once for all items, an
    item's half once for all users.
    """

    def __init__(self, n_users: int, n_items: int, config: NcfConfig) -> None:
        super().__init__()
        widths = config.layers
        self.user = _embedding(n_users, config.mlp_factors)
        self.item = _embedding(n_items, config.mlp_factors)
        self.from_user = _linear(config.mlp_factors, widths[0], fan_in=2 * config.mlp_factors)
        self.from_item = _linear(config.mlp_factors, widths[0], fan_in=2 * config.mlp_factors, bias=False)
        self.hidden = nn.ModuleList(_linear(a, b, fan_in=a) for a, b in pairwise(widths))
        self.out = nn.Parameter(_uniform(widths[-1], fan_in=widths[-1]))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [B], items [B, K] -> [B, K]."""
        user = _layer_of_rows(self.from_user, self.user, users)  # [B, h_1]
        item = _layer_of_rows(self.from_item, self.item, items)  # [B, K, h_1]
        return self._above(user[:, None] + item)

    def item_side(self) -> Tensor:
        """What the catalogue's scores need of all items: [n_items, h_1]."""
        half: Tensor = self.from_item(self.item.weight)
        return half

    def of_catalogue(self, user: Tensor, item_side: Tensor) -> Tensor:
        """One user (an id [1]) against rows [I, h_1] of `item_side` -> [I]."""
        return self._above(self.from_user(self.user(user)) + item_side)

    def _above(self, first: Tensor) -> Tensor:
        """From the first layer's sums [..., h_1] to [...]."""
        x = self.dropout(functional.relu(first))
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        return torch.matmul(x, self.out)


class Ncf(nn.Module):
    """GMF, MLP, or NeuMF: the sum of both."""

    def __init__(self, n_users: int, n_items: int, config: NcfConfig) -> None:
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        self.gmf = Gmf(n_users, n_items, config) if config.variant in {"gmf", "neumf"} else None
        self.mlp = Mlp(n_users, n_items, config) if config.variant in {"mlp", "neumf"} else None
        self.bias = nn.Parameter(torch.zeros(1))

    @property
    def halves(self) -> list[Gmf | Mlp]:
        """The parts whose outputs are added up."""
        return [half for half in (self.gmf, self.mlp) if half is not None]

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [B], items [B, K] -> scores [B, K], before the sigmoid."""
        return sum((half(users, items) for half in self.halves), self.bias)

    def squared_length(self, users: Tensor, items: Tensor) -> Tensor:
        """Mean over the pairs of users [B] and items [B, K] of |p_u|^2 + |p_i|^2 (+ the same of the other half)."""
        of_users = sum(_squares(half.user.weight, users) / users.numel() for half in self.halves)
        of_items = sum(_squares(half.item.weight, items) / items.numel() for half in self.halves)
        return torch.as_tensor(of_users + of_items)


def _embedding(n: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(n, dim)
    nn.init.normal_(table.weight, std=EMBEDDING_STD)
    return table


def _linear(n_in: int, n_out: int, *, fan_in: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(_uniform(n_out, n_in, fan_in=fan_in))
        if bias:
            layer.bias.zero_()
    return layer


def _uniform(*shape: int, fan_in: int) -> Tensor:
    """Uniform with variance 1 / fan_in (LeCun): the authors' choice for the output."""
    bound = (3 / fan_in) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound)


def _layer_of_rows(layer: nn.Linear, table: nn.Embedding, ids: Tensor) -> Tensor:
    """layer(table[ids]), in the order that multiplies fewer rows."""
    if ids.numel() < table.num_embeddings:
        rows: Tensor = layer(rows_of(table.weight, ids))
        return rows
    return rows_of(layer(table.weight), ids)


def _squares(table: Tensor, ids: Tensor) -> Tensor:
    """Sum over ids of |table[id]|^2, in the order that squares fewer rows."""
    if ids.numel() < len(table):
        return rows_of(table, ids).square().sum()
    return (table.square().sum(1) * torch.bincount(ids.flatten(), minlength=len(table))).sum()


class NcfTask(Task[LabelledItems]):
    """What the training loop needs."""

    model: Ncf

    def __init__(
        self,
        model: Ncf,
        batches: WithNegatives,
        validation: Validation,
        popularity: NDArray[np.float32],
        *,
        l2: float = 0.0,
    ) -> None:
        self.model, self._batches, self._l2 = model, batches, l2
        self._validation, self._popularity = validation, popularity

    @property
    def batches(self) -> WithNegatives:
        """Train events, each with its negatives."""
        return self._batches

    def loss(self, batch: LabelledItems) -> Tensor:
        """Equation 7, the mean over all pairs, and the penalty."""
        entropy = functional.binary_cross_entropy_with_logits(self.model(batch.users, batch.items), batch.labels)
        return entropy + self._l2 * self.model.squared_length(batch.users, batch.items) if self._l2 else entropy

    def size(self, batch: LabelledItems) -> int:
        """Pairs of a user and an item."""
        return batch.items.numel()

    def validate(self) -> Mapping[str, float]:
        """Hit rate and NDCG on the validation fold."""
        return self._validation(NcfScorer(self.model, self._popularity, self.model.n_items))


class NcfScorer:
    """Scores known users by the model; everybody else by the items' popularity in train."""

    def __init__(self, model: Ncf, popularity: NDArray[np.float32], n_items: int) -> None:
        self._model, self._popularity = model, popularity
        self._device = model.bias.device
        self.items_known = known_items(model.n_items, n_items)

    def knows(self, queries: Queries) -> NDArray[np.bool_]:
        """bool[Q]: whether the user was in train; others get the items by popularity."""
        return (queries.user >= 0) & (queries.user < self._model.n_users)

    @torch.inference_mode()
    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]: before the sigmoid; the items' train events for a user that is not known."""
        sides = [half.item_side() for half in self._model.halves]
        popularity = torch.tensor(self._popularity, device=self._device)
        users = torch.tensor(queries.user, device=self._device).long()
        known = self.knows(queries)

        def score_one(query: int, items: slice) -> Tensor:
            if not known[query]:
                return popularity[items]
            user = users[query : query + 1]
            parts = zip(self._model.halves, sides, strict=True)
            return sum((half.of_catalogue(user, side[items]) for half, side in parts), self._model.bias)

        return catalogue_scores(
            score_one,
            n_queries=len(queries),
            n_known=self._model.n_items,
            n_items=len(self.items_known),
            device=self._device,
        )

    @torch.inference_mode()
    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]: as `score`, for the given pairs only; -inf for an item that came after training."""
        user, item = pairs.queries.user[pairs.query], np.minimum(pairs.item, self._model.n_items - 1)
        known = self.knows(pairs.queries)[pairs.query]
        scores: NDArray[np.float32] = self._popularity[item]
        scores[known] = self._of_pairs(user[known], item[known])
        scores[pairs.item >= self._model.n_items] = -np.inf
        return scores

    def _of_pairs(self, user: NDArray[np.int32], item: NDArray[np.int32]) -> NDArray[np.float32]:
        users, items = (torch.tensor(ids, device=self._device) for ids in (user, item))
        blocks = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(users), PAIRS_AT_ONCE)]
        parts = [self._model(users[block], items[block, None])[:, 0] for block in blocks]
        scores: NDArray[np.float32] = torch.cat([torch.empty(0, device=self._device), *parts]).cpu().numpy()
        return scores

    def graphs(self) -> dict[Form, Graph]:
        """Scores of the catalogue by user, and of pairs of user and item."""
        module = NcfGraph(self._model, self._popularity)
        return {"catalogue": Graph(module, ("user",)), "pairs": Graph(module, ("user", "item"))}

    def save(self, directory: Path) -> None:
        """Write `model.safetensors`: the weights and the items' popularity."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self._model.state_dict().items()}
        save_file(weights | {"popularity": torch.tensor(self._popularity)}, directory / FILE)


class NcfGraph(nn.Module):
    """What `NcfScorer` answers, as a module of arrays."""

    popularity: Tensor

    def __init__(self, model: Ncf, popularity: NDArray[np.float32]) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.register_buffer("popularity", torch.tensor(popularity))

    def forward(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Users [N] and items [N] -> [N]; without items -> [N, n_items]."""
        catalogue = torch.arange(self.model.n_items)[None]
        asked = catalogue if items is None else items[:, None]  # [N or 1, K]
        known = (users >= 0) & (users < self.model.n_users)
        scores = self.model(torch.where(known, users, 0), asked)
        answers = torch.where(known[:, None], scores, self.popularity[asked])
        return answers if items is None else answers[:, 0]


def train(config: NcfConfig, data: Dataset, run: Run) -> NcfScorer:
    """Fit the model, or with `pretraining` its halves first; the epoch is chosen on the validation fold.

    Raises `DataError` where there is too little to train on or no negative to draw, and what `fit` raises.
    """
    work = _Training(config, data, run)
    start = None
    if config.pretraining is not None:
        gmf, mlp = (work.half(variant, config.pretraining) for variant in ("gmf", "mlp"))
        start = fused(gmf, mlp, config.pretraining_share)
    return NcfScorer(work.fitted(config, config.training, start=start), work.popularity, data.n_items)


class _Training:
    """What the fits of one run share."""

    def __init__(self, config: NcfConfig, data: Dataset, run: Run) -> None:
        self._config, self._run = config, run
        self._device = device_of(config.training)
        self._shape = (data.n_users, data.n_items)
        events = TrainEvents(data)
        counts = item_counts(events, data.n_items)
        self.popularity = counts.astype(np.float32)
        self._batches = batches_of(config, events, counts, n_users=data.n_users, device=self._device)
        self._validation = Validation(
            data, n_queries=config.valid_queries, seed=config.seed, n_candidates=config.valid_candidates
        )

    def half(self, variant: str, training: NcfTraining) -> Ncf:
        """GMF or MLP alone."""
        return self.fitted(self._config.model_copy(update={"variant": variant}), training, name=variant)

    def fitted(
        self, config: NcfConfig, training: NcfTraining, *, name: str = "", start: Mapping[str, Tensor] | None = None
    ) -> Ncf:
        """A model with its best weights. Without queries to validate on, these are the last ones."""
        model = initial(*self._shape, config)
        if start is not None:
            model.load_state_dict(start)
        task = NcfTask(model.to(self._device), self._batches, self._validation, self.popularity, l2=config.embedding_l2)
        knobs = {"seed": config.seed} | ({} if self._validation.n_queries else {"monitor": None, "patience": None})
        fit(task, training.model_copy(update=knobs), self._run, name=name)
        return model


def initial(n_users: int, n_items: int, config: NcfConfig) -> Ncf:
    """A model with random weights that follow from `config.seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Ncf(n_users, n_items, config)


def fused(gmf: Ncf, mlp: Ncf, share: float) -> dict[str, Tensor]:
    """The weights of a NeuMF from its trained halves: h = [share h_GMF; (1 - share) h_MLP] (equation 13)."""
    scale = {"gmf.out": share, "mlp.out": 1 - share}
    both = {**gmf.state_dict(), **mlp.state_dict()}
    weights = {name: scale.get(name, 1.0) * value for name, value in both.items()}
    return weights | {"bias": share * gmf.bias.detach() + (1 - share) * mlp.bias.detach()}


def batches_of(
    config: NcfConfig, events: TrainEvents, counts: NDArray[np.int64], *, n_users: int, device: torch.device
) -> WithNegatives:
    """Train events with negatives; `counts` int64[n_items] are the items' train events."""
    seen = SeenItems(events, n_users=n_users, n_items=len(counts), device=device) if config.reject_seen else None
    sampler = NegativeSampler(counts, alpha=config.negative_alpha, seen=seen, device=device)
    batches = EventBatches(
        events, batch_size=config.batch_size, seed=config.seed, device=device, shuffle_rows=config.shuffle_rows
    )
    return WithNegatives(batches, sampler, n=config.n_negatives, seed=config.seed)


def load(directory: Path, config: NcfConfig, data: Dataset) -> NcfScorer:
    """Read `model.safetensors`."""
    path = directory / FILE
    try:
        weights = load_file(path)
        popularity = weights.pop("popularity").numpy()
        users = weights["mlp.user.weight" if config.variant == "mlp" else "gmf.user.weight"]
        model = Ncf(len(users), len(popularity), config)
        model.load_state_dict(weights)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{path}: missing or damaged ({error}); train the model anew") from error
    return NcfScorer(model.to(device_of(config.training)).eval(), popularity, data.n_items)
