"""NCF on torch (He et al. 2017, "Neural collaborative filtering").

With user vectors p, q and item vectors of GMF and of the MLP of their own, and a(x) = max(x, 0):

    GMF    phi = p_u * p_i                                                  (equation 8)
    MLP    phi = a_L(W_L ... a_1(W_1 [q_u; q_i] + b_1) ... + b_L)            (equation 10)
    score  = h_GMF . phi_GMF + h_MLP . phi_MLP + b          (equations 9, 11, 12, before the
                                                            sigmoid)

The loss is the binary cross-entropy of train events against drawn negatives (equation 7), its mean
over all pairs. As in the authors' code the output has a bias b. Their L2 penalty on the vectors is
`l2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Fit
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.pairs.inputs import fields_of
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker, load_scorer
from falconer.recsys.backends.torch.pairs.training import fitted
from falconer.recsys.models.ncf.config import NcfConfig
from falconer.recsys.models.ncf.on_torch.lists import train_lists
from falconer.recsys.models.ncf.on_torch.network import LabelledNcf, Ncf
from falconer.recsys.models.ncf.on_torch.scorer import NcfScorer


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
    return train_lists(config, data, run, fit=fit)


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


def load(directory: Path, config: NcfConfig, data: Dataset) -> NcfScorer | ListScorer | PairRanker:
    """Read `model.safetensors`."""
    if data.card.task == "labels":
        return load_scorer(directory, lambda fields: LabelledNcf(fields, config), config, data)
    model, popularity = weights.load_for_lists(
        directory, lambda found, n_items: Ncf(_n_users(found), n_items, config)
    )
    model = model.to(device_of(config.training)).eval()
    return NcfScorer(model, popularity.numpy(), data.n_items)


def _n_users(found: Mapping[str, Tensor]) -> int:
    return len(found["mlp.user.weight" if "mlp.user.weight" in found else "gmf.user.weight"])
