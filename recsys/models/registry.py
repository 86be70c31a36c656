"""Every recommender by name: its configuration class, and where each backend's `train` and `load`
are.

Adding a model = a folder below `recsys/models`, one line here, one recipe: the contract tests find
it. Models of other packages come by an entry point of the group "falconer.models", or as
"module:attribute".
"""

from __future__ import annotations

from collections.abc import Mapping

from falconer.pipelines.models import registry as models
from falconer.pipelines.models.registry import Model, Registry
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.contracts import Loader, Trainer
from falconer.recsys.models.als.config import AlsConfig
from falconer.recsys.models.bert4rec.config import Bert4RecConfig
from falconer.recsys.models.bpr.config import BprConfig
from falconer.recsys.models.dlrm.config import DlrmConfig
from falconer.recsys.models.ease.config import EaseConfig
from falconer.recsys.models.item_knn.config import ItemKnnConfig
from falconer.recsys.models.label_mean.config import LabelMeanConfig
from falconer.recsys.models.ncf.config import NcfConfig
from falconer.recsys.models.personal_popularity.config import PersonalPopularityConfig
from falconer.recsys.models.popularity.config import PopularityConfig
from falconer.recsys.models.sasrec.config import SasRecConfig
from falconer.recsys.models.tifu_knn.config import TifuKnnConfig
from falconer.recsys.models.vae_cf.config import VaeCfConfig
from falconer.recsys.models.wide_deep.config import WideDeepConfig

GROUP = "falconer.models"
"""Of entry points: models of other packages."""
Implementation = models.Implementation[ModelConfig, Trainer, Loader]


def _on(name: str, *backends: str) -> dict[str, str]:
    """The modules of a model that has several backends."""
    return {backend: f"falconer.recsys.models.{name}.on_{backend}" for backend in backends}


MODELS: Mapping[str, Model[ModelConfig]] = {
    "popularity": Model(PopularityConfig, {"numpy": "falconer.recsys.models.popularity.on_numpy"}),
    "personal_popularity": Model(
        PersonalPopularityConfig, {"numpy": "falconer.recsys.models.personal_popularity.on_numpy"}
    ),
    "tifu_knn": Model(TifuKnnConfig, {"numpy": "falconer.recsys.models.tifu_knn.on_numpy"}),
    "label_mean": Model(LabelMeanConfig, {"numpy": "falconer.recsys.models.label_mean.on_numpy"}),
    "item_knn": Model(ItemKnnConfig, {"numpy": "falconer.recsys.models.item_knn.on_numpy"}),
    "ease": Model(EaseConfig, {"numpy": "falconer.recsys.models.ease.on_numpy"}),
    "als": Model(AlsConfig, {"implicit": "falconer.recsys.models.als.on_implicit"}),
    "ncf": Model(NcfConfig, _on("ncf", "torch", "tensorflow")),
    "wide_deep": Model(WideDeepConfig, _on("wide_deep", "torch", "tensorflow")),
    "dlrm": Model(DlrmConfig, _on("dlrm", "torch", "tensorflow")),
    "bpr": Model(BprConfig, {"implicit": "falconer.recsys.models.bpr.on_implicit"}),
    "vae_cf": Model(VaeCfConfig, _on("vae_cf", "torch", "tensorflow")),
    "sasrec": Model(SasRecConfig, _on("sasrec", "torch", "tensorflow")),
    "bert4rec": Model(Bert4RecConfig, _on("bert4rec", "torch", "tensorflow")),
}

REGISTRY: Registry[ModelConfig, Trainer, Loader] = Registry(MODELS, group=GROUP, config=ModelConfig)


def resolve(name: str, backend: str | None = None) -> Implementation:
    """Import a model's implementation; `backend` None takes the first that it lists.

    Raises `ConfigError` for an unknown name or backend, `MissingExtraError` where the backend's
    package is absent.
    """
    return REGISTRY.resolve(name, backend)
