"""NCF on torch (He et al. 2017, "Neural collaborative filtering").

With user vectors p, q and item vectors of GMF and of the MLP of their own, and a(x) = max(x, 0):

    GMF    phi = p_u * p_i                                                  (equation 8)
    MLP    phi = a_L(W_L ... a_1(W_1 [q_u; q_i] + b_1) ... + b_L)            (equation 10)
    score  = h_GMF . phi_GMF + h_MLP . phi_MLP + b          (equations 9, 11, 12, before the sigmoid)

The loss is the binary cross-entropy of train events against drawn negatives (equation 7), its mean
over all pairs. As in the authors' code the output has a bias b. Their L2 penalty on the vectors is
`l2`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Fit, Task
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.numpy.arrays import known_items
from falconer.recsys.backends.torch.events import TrainEvents, event_batches, item_counts
from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.backends.torch.in_batch import (
    InBatch,
    SharedItems,
    in_batch_softmax,
    log_chances,
    smoothed,
)
from falconer.recsys.backends.torch.negatives import LabelledItems, WithNegatives, negative_batches
from falconer.recsys.backends.torch.pairs.inputs import fields_of
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker, load_scorer
from falconer.recsys.backends.torch.pairs.training import fitted
from falconer.recsys.backends.torch.scoring import catalogue_scores
from falconer.recsys.contracts import Pairs
from falconer.recsys.judging.lists.validation import Validation, selected
from falconer.recsys.models.ncf.config import NcfConfig, NcfTraining
from falconer.recsys.models.ncf.on_torch.network import LabelledNcf, Ncf

FILE = "model.safetensors"
PAIRS_AT_ONCE = 2**16


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
        smoothing: float = 0.0,
    ) -> None:
        self.model, self._batches, self._l2, self._smoothing = model, batches, l2, smoothing
        self._validation, self._popularity = validation, popularity

    @property
    def batches(self) -> WithNegatives:
        """Train events, each with its negatives."""
        return self._batches

    def loss(self, batch: LabelledItems) -> Tensor:
        """Equation 7, the mean over all pairs, and the penalty."""
        labels = smoothed(batch.labels, self._smoothing)
        entropy = functional.binary_cross_entropy_with_logits(
            self.model(batch.users, batch.items), labels
        )
        return (
            entropy + self._l2 * self.model.squared_length(batch.users, batch.items)
            if self._l2
            else entropy
        )

    def size(self, batch: LabelledItems) -> int:
        """Pairs of a user and an item."""
        return batch.items.numel()

    def validate(self) -> Mapping[str, float]:
        """Hit rate and NDCG on the validation fold."""
        return self._validation(NcfScorer(self.model, self._popularity, self.model.n_items))


class SoftmaxTask(Task[SharedItems]):
    """GMF with the softmax over the items of the batch."""

    model: Ncf

    def __init__(
        self,
        model: Ncf,
        batches: InBatch,
        validation: Validation,
        popularity: NDArray[np.float32],
        *,
        l2: float = 0.0,
    ) -> None:
        self.model, self._batches, self._l2 = model, batches, l2
        self._validation, self.popularity = validation, popularity
        self._log_chance = log_chances(popularity).to(model.bias.device)

    @property
    def batches(self) -> InBatch:
        """Train events that share their items."""
        return self._batches

    def loss(self, batch: SharedItems) -> Tensor:
        """The softmax, its mean over the events, and the penalty on each event's vectors."""
        scores = self.model.among(batch.users, batch.items)  # [b, B]
        own = batch.items[batch.place, None]
        penalty = self._l2 * self.model.squared_length(batch.users, own) if self._l2 else 0.0
        return in_batch_softmax(scores, batch, self._log_chance) + penalty

    def size(self, batch: SharedItems) -> int:
        """Events."""
        return len(batch.users)

    def validate(self) -> Mapping[str, float]:
        """As of `NcfTask`."""
        return self._validation(NcfScorer(self.model, self.popularity, self.model.n_items))


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
        """float32[Q, n_items]: before the sigmoid; the items' train events for a user that is not
        known."""
        sides = [half.item_side() for half in self._model.halves]
        popularity = torch.tensor(self._popularity, device=self._device)
        users = torch.tensor(queries.user, device=self._device).long()
        known = self.knows(queries)

        def score_one(query: int, items: slice) -> Tensor:
            if not known[query]:
                return popularity[items]
            user = users[query : query + 1]
            parts = zip(self._model.halves, sides, strict=True)
            return sum(
                (half.of_catalogue(user, side[items]) for half, side in parts), self._model.bias
            )

        return catalogue_scores(
            score_one,
            n_queries=len(queries),
            n_known=self._model.n_items,
            n_items=len(self.items_known),
            device=self._device,
        )

    @torch.inference_mode()
    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]: as `score`, for the given pairs only; -inf for an item that came after
        training."""
        user, item = (
            pairs.queries.user[pairs.query],
            np.minimum(pairs.item, self._model.n_items - 1),
        )
        known = self.knows(pairs.queries)[pairs.query]
        scores: NDArray[np.float32] = self._popularity[item]
        scores[known] = self._of_pairs(user[known], item[known])
        scores[pairs.item >= self._model.n_items] = -np.inf
        return scores

    def _of_pairs(self, user: NDArray[np.int32], item: NDArray[np.int32]) -> NDArray[np.float32]:
        users, items = (torch.tensor(ids, device=self._device) for ids in (user, item))
        blocks = [
            slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(users), PAIRS_AT_ONCE)
        ]
        parts = [self._model(users[block], items[block, None])[:, 0] for block in blocks]
        scores: NDArray[np.float32] = (
            torch.cat([torch.empty(0, device=self._device), *parts]).cpu().numpy()
        )
        return scores

    def graphs(self) -> dict[Form, Graph]:
        """Scores of the catalogue by user, and of pairs of user and item."""
        module = NcfGraph(self._model, self._popularity)
        return {"catalogue": Graph(module, ("user",)), "pairs": Graph(module, ("user", "item"))}

    def save(self, directory: Path) -> None:
        """Write `model.safetensors`: the weights and the items' popularity."""
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self._model.state_dict().items()
        }
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


def train(
    config: NcfConfig, data: Dataset, run: Run, *, fit: Fit = fit
) -> NcfScorer | ListScorer | PairRanker:
    """Fit the model, or with `pretraining` its halves first; the epoch is chosen on the validation
    fold.

    Raises `DataError` where there is too little to train on or no negative to draw, and what `fit`
    raises; with labels as the task `ConfigError` for knobs that are for lists only.
    """
    if data.card.task == "labels":
        _refuse_for_labels(config, data)
        fields = fields_of(data, ("user", "item"), model="ncf")
        return fitted(
            lambda fields: LabelledNcf(fields, config), fields, config, data, run, fit=fit
        )
    work = _Training(config, data, run, fit)
    start = None
    if config.pretraining is not None:
        gmf, mlp = (work.half(variant, config.pretraining) for variant in ("gmf", "mlp"))
        start = fused(gmf, mlp, config.pretraining_share)
    return NcfScorer(
        work.fitted(config, config.training, start=start), work.popularity, data.n_items
    )


def _refuse_for_labels(config: NcfConfig, data: Dataset) -> None:
    if not (data.n_users and data.n_items):
        raise DataError(
            f"{data.path}: ncf learns from users and items, and here are none; train wide_deep or "
            "dlrm"
        )
    given = [knob for knob in ("pretraining", "l2") if getattr(config, knob)]
    given += ["loss"] if config.loss == "in_batch" else []
    if given:
        raise ConfigError(
            f"{data.path}: model.{given[0]} is for lists, and the dataset has labels; leave it out"
        )


class _Training:
    """What the fits of one run share."""

    def __init__(self, config: NcfConfig, data: Dataset, run: Run, fit: Fit) -> None:
        self._config, self._run, self._fit = config, run, fit
        self._device = device_of(config.training)
        self._shape = (data.n_users, data.n_items)
        self._events = TrainEvents(data)
        self._counts = item_counts(self._events, data.n_items)
        self.popularity = self._counts.astype(np.float32)
        self._validation = Validation(
            data,
            n_queries=config.valid_queries,
            seed=config.seed,
            n_candidates=config.valid_candidates,
        )

    def half(self, variant: str, training: NcfTraining) -> Ncf:
        """GMF or MLP alone."""
        return self.fitted(
            self._config.model_copy(update={"variant": variant}), training, name=variant
        )

    def fitted(
        self,
        config: NcfConfig,
        training: NcfTraining,
        *,
        name: str = "",
        start: Mapping[str, Tensor] | None = None,
    ) -> Ncf:
        """A model with its best weights. Without queries to validate on, these are the last
        ones."""
        model = initial(*self._shape, config)
        if start is not None:
            model.load_state_dict(start)
        task = self._task(config, model.to(self._device))
        knobs = {"seed": config.seed, **selected(training.monitor, self._validation)}
        self._fit(cast(Task[Any], task), training.model_copy(update=knobs), self._run, name=name)
        return model

    def _task(self, config: NcfConfig, model: Ncf) -> NcfTask | SoftmaxTask:
        if config.loss == "in_batch":
            shared = InBatch(event_batches(config, self._events, device=self._device))
            return SoftmaxTask(model, shared, self._validation, self.popularity, l2=config.l2)
        return NcfTask(
            model,
            self._with_negatives,
            self._validation,
            self.popularity,
            l2=config.l2,
            smoothing=config.label_smoothing,
        )

    @cached_property
    def _with_negatives(self) -> WithNegatives:
        return negative_batches(
            self._config, self._events, self._counts, n_users=self._shape[0], device=self._device
        )


def initial(n_users: int, n_items: int, config: NcfConfig) -> Ncf:
    """A model with random weights that follow from `config.seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Ncf(n_users, n_items, config)


def fused(gmf: Ncf, mlp: Ncf, share: float) -> dict[str, Tensor]:
    """The weights of a NeuMF from its trained halves: h = [share h_GMF; (1 - share) h_MLP]
    (equation 13)."""
    scale = {"gmf.out": share, "mlp.out": 1 - share}
    both = {**gmf.state_dict(), **mlp.state_dict()}
    weights = {name: scale.get(name, 1.0) * value for name, value in both.items()}
    return weights | {"bias": share * gmf.bias.detach() + (1 - share) * mlp.bias.detach()}


def load(directory: Path, config: NcfConfig, data: Dataset) -> NcfScorer | ListScorer | PairRanker:
    """Read `model.safetensors`."""
    if data.card.task == "labels":
        return load_scorer(directory, lambda fields: LabelledNcf(fields, config), config, data)
    path = directory / FILE
    try:
        weights = load_file(path)
        popularity = weights.pop("popularity").numpy()
        users = weights["mlp.user.weight" if config.variant == "mlp" else "gmf.user.weight"]
        model = Ncf(len(users), len(popularity), config)
        model.load_state_dict(weights)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: missing or damaged ({error}); train the model anew"
        ) from error
    return NcfScorer(model.to(device_of(config.training)).eval(), popularity, data.n_items)
